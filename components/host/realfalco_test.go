package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spire-falco/rules"
	"spire-falco/tests/host/machine"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realFalcoVariable names a folder with a Falco 0.40 that was built elsewhere: falco, falco.yaml and falco_rules.yaml.
const realFalcoVariable = "REAL_FALCO_DIR"

// TestRealFalco puts a real Falco in the place of the stand-in: it validates, starts, reports its files and refuses.
func TestRealFalco(t *testing.T) {
	dir := os.Getenv(realFalcoVariable)
	if dir == "" {
		t.Skipf("SKIPPED, NOT PASSED: %s names no folder with a real Falco", realFalcoVariable)
	}
	b := newBench(t, machine.Options{})
	libraries, err := exec.Command("ldd", filepath.Join(dir, "falco")).Output()
	require.NoError(t, err)
	for field := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(field, "/") {
			content, err := os.ReadFile(field)
			require.NoError(t, err)
			b.Write(t, "/opt/falco/lib/"+filepath.Base(field), string(content))
		}
	}
	for _, name := range []string{"falco", "falco.yaml", "falco_rules.yaml"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		b.Write(t, "/opt/falco/"+name, string(content))
	}
	rendered, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	b.args.Rules, b.args.RulesHash = rendered.Data(), rendered.Hash
	b.args.RulesBeforeStock, b.args.RulesAfterStock = rules.Names(rendered.BeforeStock), rules.Names(rendered.AfterStock)
	b.MustRun(t, "mount -t sysfs sysfs /sys") // its probe wants the true kernel's types
	b.must(t, stepCheck, stepBase, stepPackage)
	b.MustRun(t, `rm /usr/bin/falco && cp /opt/falco/*.yaml /etc/falco/ && chmod 0755 /opt/falco/falco /opt/falco/lib/*
		printf '#!/bin/sh\nexec env LD_LIBRARY_PATH=/opt/falco/lib /opt/falco/falco "$@"\n' >/usr/bin/falco && chmod 0755 /usr/bin/falco`)

	b.must(t, stepFalco)
	t.Log(b.MustRun(t, "cat /run/standin/journal/falco-modern-bpf.service"))
	process := b.falcoPID(t)
	b.must(t, stepFalco)
	assert.Equal(t, process, b.falcoPID(t), "nothing to do")

	b.args.Rules["spire-mtls-rules.yaml"] = strings.Replace(b.args.Rules["spire-mtls-rules.yaml"], "condition: ", "condition: no_such_macro and ", 1)
	said := b.refused(t, "deploy", stepFalco)
	t.Log(said)
	assert.Contains(t, said, "LOAD_ERR_")
	assert.Equal(t, process, b.falcoPID(t))
}
