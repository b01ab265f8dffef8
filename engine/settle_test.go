package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
)

const urn = "urn:pulumi:dev::spire-falco::"

// pending is a state in which r is being created beside an older one of its URN and what depends on that.
func pending(kind, name, inputs string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"manifest":{},"resources":[
		{"urn":%[1]q,"type":%[2]q,"custom":true,"id":"old"},
		{"urn":"%[4]sx:y:Z::user","type":"x:y:Z","dependencies":[%[1]q]},
		{"urn":"%[4]sx:y:Z::needed","type":"x:y:Z"}],
		"pending_operations":[{"type":"creating","resource":{"urn":%[1]q,"type":%[2]q,"custom":true,"inputs":%[3]s}}]}`,
		urn+kind+"::"+name, kind, inputs, urn))
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind, inputs string
		id                 string // empty: forgotten
	}{
		{"an_object_by_namespace_and_name", "kubernetes:core/v1:ConfigMap", `{"metadata":{"name":"rules","namespace":"falco"}}`, "falco/rules"},
		{"a_cluster_scoped_object_by_name", "kubernetes:core/v1:Namespace", `{"metadata":{"name":"falco"}}`, "falco"},
		{"a_release_by_its_own_namespace_and_name", "kubernetes:helm.sh/v3:Release", `{"name":"falco","namespace":"detection"}`, "detection/falco"},
		{"a_command_so_that_its_delete_runs", "command:local:Command", `{"create":"true"}`, "interrupted"},
		{"no_command_whose_script_is_not_known", "command:local:Command", `{"create":{"ciphertext":"x"}}`, ""},
		{"no_object_without_a_name", "kubernetes:core/v1:ConfigMap", `{"metadata":{}}`, ""},
		{"no_patch", "kubernetes:apps/v1:DaemonSetPatch", `{"metadata":{"name":"a","namespace":"b"}}`, ""},
		{"no_provider", "pulumi:providers:kubernetes", `{}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			settled, open, err := adopt(pending(c.kind, "it", c.inputs))
			require.NoError(t, err)
			assert.Equal(t, []string{"creating it"}, open)
			var state apitype.DeploymentV3
			require.NoError(t, json.Unmarshal(settled, &state))
			if c.id == "" {
				assert.Len(t, state.Resources, 3)
				assert.Len(t, state.PendingOperations, 1, "the refresh clears it")
				return
			}
			assert.Empty(t, state.PendingOperations)
			require.Len(t, state.Resources, 4)
			assert.Equal(t, c.id, string(state.Resources[0].ID), "before what depends on it")
			assert.False(t, state.Resources[0].Delete)
			assert.Equal(t, "old", string(state.Resources[1].ID))
			assert.True(t, state.Resources[1].Delete, "what it replaces is still to be deleted")
		})
	}
}

func TestAdoptAnInterruptedCommandIsRunAgain(t *testing.T) {
	t.Parallel()
	settled, _, err := adopt(pending("command:local:Command", "it", `{"create":"minikube start"}`))
	require.NoError(t, err)
	var state apitype.DeploymentV3
	require.NoError(t, json.Unmarshal(settled, &state))
	assert.NotEqual(t, "minikube start", state.Resources[0].Inputs["create"])
}

func TestAdoptLeavesASettledStateAlone(t *testing.T) {
	t.Parallel()
	in := json.RawMessage(`{"resources":[]}`)
	out, open, err := adopt(in)
	require.NoError(t, err)
	assert.Empty(t, open)
	assert.Equal(t, string(in), string(out))
}

func TestInsertAfterWhatItNeeds(t *testing.T) {
	t.Parallel()
	var state apitype.DeploymentV3
	require.NoError(t, json.Unmarshal(pending("kubernetes:core/v1:ConfigMap", "it", `{}`), &state))
	r := state.PendingOperations[0].Resource
	r.Dependencies = append(r.Dependencies, state.Resources[2].URN)
	out := insert(state.Resources, r)
	assert.Equal(t, r.URN, out[3].URN)
}

func TestUnlock(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	require.NoError(t, err)
	ended := exec.CommandContext(t.Context(), "true")
	require.NoError(t, ended.Run())
	for _, c := range []struct {
		name, text string
		stays      bool
	}{
		{"of_a_dead_process_goes", fmt.Sprintf(`{"pid":%d,"hostname":%q}`, ended.Process.Pid, host), false},
		{"of_another_machine_stays", fmt.Sprintf(`{"pid":%d,"hostname":"not-%s"}`, ended.Process.Pid, host), true},
		{"that_says_nothing_stays", `{}`, true},
		{"that_is_no_JSON_stays", `lock`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := &Backend{stack: "dev", Environment: map[string]string{"PULUMI_BACKEND_URL": "file://" + dir + "?metadata=skip"}}
			locks := filepath.Join(dir, ".pulumi", "locks", "organization", config.Project, "dev")
			require.NoError(t, os.MkdirAll(locks, 0o700))
			file := filepath.Join(locks, "id.json")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			e := &Engine{opts: Options{Backend: b}}
			require.NoError(t, e.unlock())
			if c.stays {
				assert.FileExists(t, file)
			} else {
				assert.NoFileExists(t, file)
			}
		})
	}
}

func TestMendRemovesWhatWasNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := &Backend{stack: "dev", Environment: map[string]string{"PULUMI_BACKEND_URL": "file://" + dir}}
	stacks := filepath.Join(dir, ".pulumi", "stacks", config.Project)
	require.NoError(t, os.MkdirAll(stacks, 0o700))
	empty, whole := filepath.Join(stacks, "dev.json.attrs"), filepath.Join(stacks, "dev.json.bak.attrs")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.NoError(t, os.WriteFile(whole, []byte("{}"), 0o600))
	require.NoError(t, b.mend())
	assert.NoFileExists(t, empty)
	assert.FileExists(t, whole)
}
