package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/engine"
)

// kept is a state with a Minikube, or without one.
type kept struct{ minikube *engine.Minikube }

func (k kept) Minikube(context.Context) (*engine.Minikube, error) { return k.minikube, nil }

func TestUpStartsAMinikubeThatIsDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		machine machine
		made    bool
		starts  bool
		fails   string
	}{
		{"it runs", machine{"minikube": "Running"}, true, false, ""},
		{"it is down", machine{"minikube": "fail:Stopped"}, true, true, ""},
		{"it cannot be started", machine{"minikube": "fail:Stopped"}, true, true, "start the Minikube profile own"},
		{"there is none yet", machine{"minikube": "fail:not found"}, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			started := filepath.Join(t.TempDir(), "started")
			var k kept
			if tt.made {
				script := `echo "$PULUMI_COMMAND_STDOUT" >"$STARTED"; printf 'step \033[2J1\n' >&2`
				if tt.fails != "" {
					script += "; exit 3"
				}
				k.minikube = &engine.Minikube{Environment: map[string]string{"PROFILE": "own", "SCRIPT": script, "STARTED": started}, Printed: "printed"}
			}
			var log bytes.Buffer
			err := resumeMinikube(t.Context(), k, tt.machine, &log)
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
			} else {
				require.NoError(t, err)
			}
			text, _ := os.ReadFile(started)
			assert.Equal(t, tt.starts, string(text) == "printed\n", "it gets what the last start printed")
			if tt.starts {
				assert.Contains(t, log.String(), "the Minikube cluster own does not run; starting it")
				assert.Contains(t, log.String(), "step ")
				assert.NotContains(t, log.String(), "\033")
			} else {
				assert.Empty(t, log.String())
			}
		})
	}
}

func TestDownChangesNothingWhileTheNodesEngineIsDown(t *testing.T) {
	t.Parallel()
	down := machine{"docker": "fail:Cannot connect to the Docker daemon"}
	of := func(driver string) kept {
		return kept{&engine.Minikube{Environment: map[string]string{"PROFILE": "own", "DRIVER": driver}}}
	}
	require.EqualError(t, preflightDown(t.Context(), of("docker"), down), "nothing was removed: docker is not running: start it")
	require.NoError(t, preflightDown(t.Context(), of("docker"), machine{"docker": "6.1.0 2 1"}))
	require.NoError(t, preflightDown(t.Context(), of("kvm2"), down), "its node is no container")
	require.NoError(t, preflightDown(t.Context(), kept{}, down), "nothing was made")
}

func TestDownClearsWhatAFailedFirstStartLeft(t *testing.T) {
	home, dir, bin := t.TempDir(), t.TempDir(), t.TempDir()
	folder := filepath.Join(home, ".minikube", "profiles", "spire-falco")
	kubeconfig := filepath.Join(dir, config.StateDir("dev"), "kubeconfig")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	for path, text := range map[string]string{
		filepath.Join(folder, "config.json"): "{}", filepath.Join(folder, "spire-falco"): kubeconfig + "\n",
		filepath.Join(bin, "minikube"): "#!/bin/sh\nrm -rf \"$HOME/.minikube/profiles/$3\"\n",
		filepath.Join(bin, "docker"):   "#!/bin/sh\n",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o700))
	}
	t.Setenv("HOME", home)
	t.Setenv("MINIKUBE_HOME", "")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s, err := config.Load(config.Source{Stack: "dev"})
	require.NoError(t, err)
	target := &target{}
	target.Dir = dir
	require.NoError(t, target.clearMinikube(t.Context(), s, &bytes.Buffer{}))
	assert.NoDirExists(t, folder)
}
