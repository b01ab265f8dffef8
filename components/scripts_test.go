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

// fakeMinikube does what Minikube does to its own files, to a kubeconfig and to a node's images. What goes wrong is
// named by $FAULT, and is in each case what a real Minikube 1.38.1 did with exit code 0, except for "start".
const fakeMinikube = `#!/bin/sh
echo "minikube $1 $(basename "${KUBECONFIG:-none}")" >>"$LOG"
folder=$HOME/.minikube/profiles/own
case $1 in
start)
	mkdir -p "$folder"
	[ -f "$folder/config.json" ] ||
		printf '{\n    "Name": "own",\n    "Memory": %s,\n    "CPUs": %s,\n    "Driver": "docker",\n    "Nodes": [\n        {\n            "Memory": 1\n        }\n    ]\n}\n' "$MEMORY_MIB" "$CPUS" >"$folder/config.json"
	printf 'apiVersion: v1\nclusters: []\ncontexts:\n- context:\n    cluster: own\n    extensions:\n    - extension:\n        version: v1\n      name: context_info\n  name: own\ncurrent-context: own\nkind: Config\n' >"$KUBECONFIG"
	[ "$FAULT" != start ] || exit 1
	;;
kubectl) case $* in *kube-system*) printf uid-1 ;; esac ;;
image)
	case $2 in
	load) [ "$FAULT" = load ] || echo docker.io/library/mtls-server:sha256-1 >"$HOME/images" ;;
	ls) cat "$HOME/images" 2>/dev/null || true ;;
	esac
	;;
delete)
	[ "$FAULT" = delete ] || rm -rf "$folder"
	printf 'contexts: []\n' >"$KUBECONFIG"
	;;
esac
`

// fakeDocker has a container of the profile's name, has one left, or does not answer.
const fakeDocker = `#!/bin/sh
case "$1 $FAULT" in
"info down") exit 1 ;;
info*) exit 0 ;;
"container foreign" | "ps left") echo 1234 ;;
container* | "volume"*) [ "$2" = ls ] ;;
esac
`

const (
	ownKubeconfig   = "contexts:\n- context:\n    cluster: own\n  name: own\ncurrent-context: own\n"
	otherKubeconfig = "contexts:\n- context:\n    cluster: own\n  name: own\n- context:\n    cluster: prod\n  name: prod\ncurrent-context: prod\n"
)

const (
	ownNode   = "own driver=docker cpus=2 memory=2048 disk=20g"
	ownBefore = ownNode + "\nkubernetes=v1.34.0 cni=kindnet kube-system=uid-1"
)

// minikubeMachine is a machine with the programs above on which a script runs, and the answer of the script.
type minikubeMachine struct {
	t                              *testing.T
	dir, home, log, kubeconfig, at string
}

func newMinikubeMachine(t *testing.T) *minikubeMachine {
	t.Helper()
	dir := t.TempDir()
	m := &minikubeMachine{
		t: t, dir: dir, home: filepath.Join(dir, "home"), log: filepath.Join(dir, "log"),
		kubeconfig: filepath.Join(dir, "a b", "kubeconfig"), at: filepath.Join(dir, "home", ".minikube", "profiles", "own"),
	}
	require.NoError(t, errors.Join(os.Mkdir(m.home, 0o700), os.Mkdir(filepath.Dir(m.kubeconfig), 0o700)))
	for name, text := range map[string]string{"minikube": fakeMinikube, "docker": fakeDocker} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700))
	}
	return m
}

// profile makes a profile with the mark of the stack whose kubeconfig is named; none without a name.
func (m *minikubeMachine) profile(mark string) {
	m.t.Helper()
	config := []byte("{\n    \"Memory\": 2048,\n    \"CPUs\": 2,\n    \"Driver\": \"docker\"\n}\n")
	require.NoError(m.t, errors.Join(os.MkdirAll(m.at, 0o700), os.WriteFile(filepath.Join(m.at, "config.json"), config, 0o600)))
	if mark != "" {
		require.NoError(m.t, os.WriteFile(filepath.Join(m.at, "spire-falco"), []byte(mark+"\n"), 0o600))
	}
}

func (m *minikubeMachine) run(name string, env ...string) (stdout, stderr string, err error) {
	cmd := exec.Command("/bin/sh", "-c", runScript)
	cmd.Env = append([]string{
		"PATH=" + m.dir + ":" + os.Getenv("PATH"), "HOME=" + m.home, "LOG=" + m.log, "FAULT=", scriptVariable + "=" + script(name),
		"KUBECONFIG=" + m.kubeconfig, "PROFILE=own", "DRIVER=docker", "KUBERNETES_VERSION=v1.34.0", "CPUS=2", "MEMORY_MIB=2048", "DISK=20g", "CNI=kindnet",
		"ARCHIVE=" + filepath.Join(m.dir, "minikube"), "DIGEST=sha256:1", "REFERENCE=docker.io/library/mtls-server:sha256-1",
	}, env...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return strings.TrimSpace(out.String()), errOut.String(), err
}

func (m *minikubeMachine) calls() string {
	calls, _ := os.ReadFile(m.log)
	return string(calls)
}

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
		{"an up that fails keeps the one of before", "minikube-up.sh", ownKubeconfig, []string{"FAULT=start"}, true, ownKubeconfig},
		{"up leaves another alone", "minikube-up.sh", otherKubeconfig, nil, true, otherKubeconfig},
		{"up leaves what is no kubeconfig alone", "minikube-up.sh", "{\"contexts\":[]}\n", nil, true, "{\"contexts\":[]}\n"},
		{"down removes it", "minikube-down.sh", ownKubeconfig, nil, false, ""},
		{"down of a stack without one is no error", "minikube-down.sh", "", nil, false, ""},
		{"down leaves another alone", "minikube-down.sh", otherKubeconfig, nil, true, otherKubeconfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMinikubeMachine(t)
			if tt.before != "" {
				require.NoError(t, os.WriteFile(m.kubeconfig, []byte(tt.before), 0o600))
			}
			_, stderr, err := m.run(tt.script, tt.env...)
			require.Equal(t, tt.fails, err != nil, stderr)
			text, _ := os.ReadFile(m.kubeconfig)
			if tt.want == "" {
				assert.NoFileExists(t, m.kubeconfig)
			} else {
				assert.Contains(t, string(text), tt.want)
				info, err := os.Stat(m.kubeconfig)
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			}
			entries, err := os.ReadDir(filepath.Dir(m.kubeconfig))
			require.NoError(t, err)
			assert.LessOrEqual(t, len(entries), 1, "nothing else is left")
			if tt.fails && tt.env == nil {
				assert.Contains(t, stderr, "other contexts than own, so it is not this stack's and stays as it is")
				assert.Empty(t, m.calls(), "Minikube was not called")
			}
			assert.False(t, strings.HasPrefix(tt.script, "minikube-up") && strings.Contains(m.calls(), " kubeconfig\n"), "it is written under another name first")
		})
	}
}

func TestUpMakesOrTakesUpNoMinikubeButTheStacks(t *testing.T) {
	t.Parallel()
	own := func(m *minikubeMachine) { m.profile(m.kubeconfig) }
	for _, tt := range []struct {
		name   string
		there  func(*minikubeMachine)
		env    []string
		want   string // standard output; empty: it fails
		says   string
		calls  string
		marked bool
	}{
		{"a first start", nil, nil, ownBefore, "", "start kubectl kubectl", true},
		{"a start of what the state has", own, []string{"PULUMI_COMMAND_STDOUT=" + ownBefore}, ownBefore, "", "start kubectl kubectl", true},
		{"a first start that failed leaves nothing", nil, []string{"FAULT=start"}, "", "The first start of own failed; what it left is deleted.", "start delete", false},
		{"a later start that fails leaves the cluster", own, []string{"FAULT=start", "PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "minikube start failed", "start", true},
		{"a first start that was killed is taken up", own, nil, ownBefore, "", "start kubectl kubectl", true},
		{
			"one of another size that was killed is made again", own,
			[]string{"CPUS=4"},
			"own driver=docker cpus=4 memory=2048 disk=20g\nkubernetes=v1.34.0 cni=kindnet kube-system=uid-1", "it is deleted", "delete start kubectl kubectl", true,
		},
		{"somebody's profile", func(m *minikubeMachine) { m.profile("") }, nil, "", "has a profile own that this stack did not make", "", false},
		{"another stack's profile", func(m *minikubeMachine) { m.profile(m.log) }, nil, "", "has a profile own that this stack did not make", "", false},
		{"somebody's profile after the stack's was deleted", func(m *minikubeMachine) { m.profile("") }, []string{"PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "did not make", "", false},
		{"a profile of an earlier version", func(m *minikubeMachine) { m.profile("") }, []string{"PULUMI_COMMAND_STDOUT=" + ownNode}, ownBefore, "", "start kubectl kubectl", true},
		{"a profile whose stack was moved", func(m *minikubeMachine) { m.profile("/gone/kubeconfig") }, []string{"PULUMI_COMMAND_STDOUT=" + ownBefore}, ownBefore, "", "start kubectl kubectl", true},
		{"a profile that was deleted by hand", nil, []string{"PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "is gone, with everything", "", false},
		{"somebody's container of that name", nil, []string{"FAULT=foreign"}, "", "docker has a container named own", "", false},
		{"Docker that is not running", nil, []string{"FAULT=down"}, "", "docker does not answer", "", false},
		{
			"a cluster that Minikube made anew under the stack", own,
			[]string{"PULUMI_COMMAND_STDOUT=" + ownNode + "\nkubernetes=v1.34.0 cni=kindnet kube-system=uid-0"},
			"", "made a new one in its place", "start kubectl kubectl", true,
		},
		{"another size", own, []string{"CPUS=4", "PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "A Minikube node cannot be changed so", "", true},
		{"another network", own, []string{"CNI=calico", "PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "was made with kindnet", "", true},
		{
			"the next Kubernetes", own,
			[]string{"KUBERNETES_VERSION=v1.35.9", "PULUMI_COMMAND_STDOUT=" + ownBefore},
			ownNode + "\nkubernetes=v1.35.9 cni=kindnet kube-system=uid-1", "", "start kubectl kubectl", true,
		},
		{"a Kubernetes of before", own, []string{"KUBERNETES_VERSION=v1.33.9", "PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "cannot go back to v1.33.9", "", true},
		{"a Kubernetes that skips a minor", own, []string{"KUBERNETES_VERSION=v1.36.3", "PULUMI_COMMAND_STDOUT=" + ownBefore}, "", "Go to v1.35 before v1.36.3", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMinikubeMachine(t)
			if tt.there != nil {
				tt.there(m)
			}
			stdout, stderr, err := m.run("minikube-up.sh", tt.env...)
			if tt.want == "" {
				require.Error(t, err)
			} else {
				require.NoError(t, err, stderr)
			}
			assert.Equal(t, tt.want, stdout)
			assert.Contains(t, stderr, tt.says)
			var calls []string
			for line := range strings.SplitSeq(strings.TrimSpace(m.calls()), "\n") {
				if fields := strings.Fields(line); len(fields) > 1 {
					calls = append(calls, fields[1])
				}
			}
			assert.Equal(t, tt.calls, strings.Join(calls, " "))
			mark, _ := os.ReadFile(filepath.Join(m.at, "spire-falco"))
			assert.Equal(t, tt.marked, string(mark) == m.kubeconfig+"\n")
		})
	}
}

func TestDownDeletesNoMinikubeButTheStacks(t *testing.T) {
	t.Parallel()
	own := func(m *minikubeMachine) { m.profile(m.kubeconfig) }
	for _, tt := range []struct {
		name, fault, says string
		there             func(*minikubeMachine)
		fails, stays      bool
	}{
		{"the stack's", "", "", own, false, false},
		{"nothing there", "", "", func(*minikubeMachine) {}, false, false},
		{"somebody's of that name", "", "is not one that this stack made, so it stays", func(m *minikubeMachine) { m.profile("") }, false, true},
		{"Docker that is not running", "down", "its container would come back with docker", own, true, true},
		{"a container that Minikube left", "left", "docker rm --force --volumes 1234", own, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMinikubeMachine(t)
			tt.there(m)
			_, stderr, err := m.run("minikube-down.sh", "FAULT="+tt.fault)
			assert.Equal(t, tt.fails, err != nil, stderr)
			assert.Contains(t, stderr, tt.says)
			_, err = os.Stat(m.at)
			assert.Equal(t, tt.stays, err == nil)
			if tt.stays {
				assert.Empty(t, m.calls(), "Minikube was not called")
			}
		})
	}
}

func TestAnImageThatMinikubeDidNotLoadIsAnError(t *testing.T) {
	t.Parallel()
	m := newMinikubeMachine(t)
	stdout, stderr, err := m.run("image-load.sh")
	require.NoError(t, err, stderr)
	assert.Equal(t, "sha256:1", stdout)

	m = newMinikubeMachine(t)
	stdout, stderr, err = m.run("image-load.sh", "FAULT=load")
	require.Error(t, err)
	assert.Empty(t, stdout, "the digest is not recorded as loaded")
	assert.Contains(t, stderr, "the node of own has no image docker.io/library/mtls-server:sha256-1")
}
