package components

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeMinikube does to a kubeconfig what Minikube does: it writes the profile's context, and takes it out again.
const fakeMinikube = `#!/bin/sh
echo "minikube $1 $(basename "$KUBECONFIG")" >>"$LOG"
case $1 in
start)
	printf 'apiVersion: v1\nclusters: []\ncontexts:\n- context:\n    cluster: own\n    extensions:\n    - extension:\n        version: v1\n      name: context_info\n  name: own\ncurrent-context: own\nkind: Config\n' >"$KUBECONFIG"
	[ -z "${FAIL:-}" ] || exit 1
	;;
delete) printf 'contexts: []\n' >"$KUBECONFIG" ;;
esac
`

const (
	ownKubeconfig   = "contexts:\n- context:\n    cluster: own\n  name: own\ncurrent-context: own\n"
	otherKubeconfig = "contexts:\n- context:\n    cluster: own\n  name: own\n- context:\n    cluster: prod\n  name: prod\ncurrent-context: prod\n"
)

func TestTheMinikubeScriptsTouchNoKubeconfigButTheStacks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, before string
		env                  []string
		fails                bool
		want                 string // empty: no file
	}{
		{"up creates it", "minikube-up.sh", "", nil, false, "current-context: own\nkind: Config"},
		{"up replaces its own", "minikube-up.sh", ownKubeconfig, nil, false, "kind: Config"},
		{"up replaces one that lost its context", "minikube-up.sh", "contexts: null\n", nil, false, "kind: Config"},
		{"an up that fails keeps the one of before", "minikube-up.sh", ownKubeconfig, []string{"FAIL=1"}, true, ownKubeconfig},
		{"up leaves another alone", "minikube-up.sh", otherKubeconfig, nil, true, otherKubeconfig},
		{"up leaves what is no kubeconfig alone", "minikube-up.sh", "{\"contexts\":[]}\n", nil, true, "{\"contexts\":[]}\n"},
		{"down removes it", "minikube-down.sh", ownKubeconfig, nil, false, ""},
		{"down of a stack without one is no error", "minikube-down.sh", "", nil, false, ""},
		{"down leaves another alone", "minikube-down.sh", otherKubeconfig, nil, true, otherKubeconfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log, kubeconfig := filepath.Join(dir, "log"), filepath.Join(dir, "a b", "kubeconfig")
			require.NoError(t, errors.Join(os.Mkdir(filepath.Join(dir, "a b"), 0o700), os.WriteFile(filepath.Join(dir, "minikube"), []byte(fakeMinikube), 0o700)))
			if tt.before != "" {
				require.NoError(t, os.WriteFile(kubeconfig, []byte(tt.before), 0o600))
			}
			cmd := exec.Command("/bin/sh", "-c", runScript)
			cmd.Env = append([]string{
				"PATH=" + dir + ":" + os.Getenv("PATH"), "LOG=" + log, scriptVariable + "=" + script(tt.script), "KUBECONFIG=" + kubeconfig,
				"PROFILE=own", "DRIVER=docker", "KUBERNETES_VERSION=v1.34.0", "CPUS=2", "MEMORY_MIB=2048", "DISK=20g",
			}, tt.env...)
			out, err := cmd.CombinedOutput()
			require.Equal(t, tt.fails, err != nil, string(out))
			text, _ := os.ReadFile(kubeconfig)
			if tt.want == "" {
				assert.NoFileExists(t, kubeconfig)
			} else {
				assert.Contains(t, string(text), tt.want)
				info, err := os.Stat(kubeconfig)
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			}
			entries, err := os.ReadDir(filepath.Dir(kubeconfig))
			require.NoError(t, err)
			assert.LessOrEqual(t, len(entries), 1, "nothing else is left")
			calls, _ := os.ReadFile(log)
			if tt.fails && tt.env == nil {
				assert.Contains(t, string(out), "other contexts than own, so it is not this stack's and stays as it is")
				assert.Empty(t, string(calls), "Minikube was not called")
			}
			assert.False(t, strings.HasPrefix(tt.script, "minikube-up") && strings.Contains(string(calls), " kubeconfig\n"), "it is written under another name first")
		})
	}
}
