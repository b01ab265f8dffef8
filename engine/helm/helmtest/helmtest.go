// Package helmtest stands in for a cluster with Helm releases, and for the Helm CLI.
package helmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spire-falco/engine/helm"
)

// Cluster answers for the Secrets that Helm keeps releases in, by their metadata only, and writes down what the Helm CLI
// is asked to do.
type Cluster struct {
	helm.Cluster

	mu      sync.Mutex
	secrets map[string][]any // by namespace and release
	refusal int
	looks   int
	onLook  func(number int)
	dir     string
}

// Revision is one revision of a release.
type Revision struct {
	Number int
	Status string
	Since  time.Time
}

// New starts a cluster without releases.
func New(t *testing.T) *Cluster {
	t.Helper()
	c := &Cluster{secrets: map[string][]any{}, onLook: func(int) {}, dir: t.TempDir()}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	c.Kubeconfig, c.Context = filepath.Join(c.dir, "kubeconfig"), "test"
	c.write(t, "kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u", "user": {}}],
		"contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}]}`, server.URL))
	c.CLI = func(context.Context) (string, error) { return filepath.Join(c.dir, "helm"), nil }
	c.HelmSays(t, "", 0)
	return c
}

func (c *Cluster) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // one is a program
		t.Fatal(err)
	}
}

// HelmSays makes the CLI print that on its standard error and exit with that code.
func (c *Cluster) HelmSays(t *testing.T, text string, code int) {
	t.Helper()
	c.write(t, "says", text)
	c.write(t, "helm", fmt.Sprintf("#!/bin/sh\ncd '%s'\necho \"$*\" >> calls\nenv > env\ncat says >&2\nexit %d\n", c.dir, code))
}

// Set replaces the revisions of a release.
func (c *Cluster) Set(namespace, release string, revisions ...Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []any
	for _, r := range revisions {
		all = append(all, map[string]any{"metadata": map[string]any{
			"name": fmt.Sprintf("sh.helm.release.v1.%s.v%d", release, r.Number),
			"labels": map[string]string{
				"owner": "helm", "name": release, "version": strconv.Itoa(r.Number), "status": r.Status,
				"modifiedAt": strconv.FormatInt(r.Since.Unix(), 10),
			},
		}})
	}
	c.secrets[namespace+"/"+release] = all
}

// Refuse makes the cluster answer with that HTTP status; 0 ends it.
func (c *Cluster) Refuse(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = status
}

// OnLook has f called before each answer, with its number from 1.
func (c *Cluster) OnLook(f func(number int)) { c.onLook = f }

// Calls are the commands that the CLI was run with, without where the cluster is.
func (c *Cluster) Calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "calls"))
	if err != nil {
		return nil
	}
	where := " --kubeconfig " + c.Kubeconfig + " --kube-context " + c.Context
	var all []string
	for line := range strings.Lines(string(text)) {
		call, ok := strings.CutSuffix(strings.TrimSpace(line), where)
		if !ok {
			t.Errorf("helm %s: does not say on which cluster", line)
		}
		all = append(all, call)
	}
	return all
}

// Environment of the last run of the CLI.
func (c *Cluster) Environment(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (c *Cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.looks++
	look := c.looks
	c.mu.Unlock()
	c.onLook(look)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(r.URL.Path, "/") // /api/v1/namespaces/NAMESPACE/secrets
	release, ok := strings.CutPrefix(r.URL.Query().Get("labelSelector"), "owner=helm,name=")
	status, body := http.StatusOK, map[string]any{}
	switch {
	case c.refusal != 0:
		status, body = c.refusal, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": c.refusal, "message": "not you"}
	case len(parts) != 6 || parts[5] != "secrets" || !ok || !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList"):
		status, body = http.StatusBadRequest, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 400, "message": "who reads more than labels?"}
	default:
		body["items"] = append([]any{}, c.secrets[parts[4]+"/"+release]...)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone
}
