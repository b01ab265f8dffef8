package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"unicode"

	"spire-falco/config"
)

// FuzzLoadStackFile looks for settings files that panic, or whose errors would write control characters to a terminal.
func FuzzLoadStackFile(f *testing.F) {
	for _, seed := range []string{
		"config:\n  spire-falco:enableFalco: true\n",
		"config:\n  spire-falco:workloads:\n    - {name: server, port: 8443, peers: [client]}\n    - {name: client}\n",
		"config:\n  spire-falco:falcosidekick.outputs:\n    loki: {hostport: 'http://loki:3100', apikey: {secure: AAAA}}\n",
		"config:\n  spire-falco:falco: {priority: info, extraRules: [a.yaml, b/a.yaml]}\n",
		"config:\n  spire-falco:spire.agentSocketPath: \"/tmp/\\e[31m/x\"\n",
		"config: {a: &a [1], b: *a}\n",
		"encryptionsalt: v1:x\nconfig: []\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, "Pulumi.fuzz.yaml"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := config.LoadStackFile(dir, "fuzz")
		if err == nil {
			return
		}
		for _, r := range err.Error() {
			if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("the error has %U: %q", r, err)
			}
		}
	})
}
