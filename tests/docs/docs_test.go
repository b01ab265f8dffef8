// Package docs_test checks that the pages of the project are true where a test can know: links lead somewhere, and
// commands of make exist. The tests of cmd/stack, cmd/stack-engine and cmd/falcorules check the commands of these
// programs.
package docs_test

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

const root = "../.."

func pages(t *testing.T) map[string]*doccheck.Page {
	t.Helper()
	all, err := doccheck.Pages(root)
	require.NoError(t, err)
	byPath := map[string]*doccheck.Page{}
	for _, p := range all {
		byPath[p.Path] = p
	}
	require.Contains(t, byPath, "README.md")
	return byPath
}

func TestEveryRelativeLinkLeadsToAFileAndAHeading(t *testing.T) {
	t.Parallel()
	all := pages(t)
	checked := 0
	for name, p := range all {
		for _, l := range p.Links() {
			u, err := url.Parse(l.Target)
			require.NoError(t, err, "%s:%d", name, l.Line)
			if u.IsAbs() {
				continue
			}
			checked++
			target := name
			if u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				assert.Fail(t, "the link leads nowhere", "%s:%d: %s", name, l.Line, l.Target)
				continue
			}
			if u.Fragment == "" {
				continue
			}
			if to := all[target]; assert.NotNil(t, to, "%s:%d: %s is not a page", name, l.Line, target) {
				assert.Contains(t, to.Anchors(), u.Fragment, "%s:%d: %s", name, l.Line, l.Target)
			}
		}
	}
	assert.Greater(t, checked, 20)
}

func TestEveryTargetOfMakeExists(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(root + "/Makefile")
	require.NoError(t, err)
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	checked := 0
	for _, p := range pages(t) {
		for _, c := range p.Commands("make") {
			for _, w := range c.Args {
				if strings.Contains(w, "=") {
					continue
				}
				checked++
				assert.True(t, targets[w], "%s: the Makefile has no target %q", c.Place, w)
			}
		}
	}
	assert.Greater(t, checked, 10)
}
