// Package minikube holds the stack's settings and scripts against a real Minikube that has no machine to make a node on:
// what it refuses, what it exits with, and what it leaves. A running node is not part of it.
package minikube

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/components"
	"spire-falco/config"
	"spire-falco/gotool"
)

// variable names the Minikube to test with: a path, or "build" for the one that tools/minikube pins, which takes minutes.
const variable = "MINIKUBE"

var program string

func TestMain(m *testing.M) {
	program = os.Getenv(variable)
	if program == "build" {
		built, err := gotool.Build(context.Background(), gotool.Tool{
			Name: "minikube", Dir: "../../tools/minikube", Module: "k8s.io/minikube", Package: "k8s.io/minikube/cmd/minikube",
			LDFlags: "-X k8s.io/minikube/pkg/version.version=VERSION -X k8s.io/minikube/pkg/version.isoVersion=VERSION",
			// Its driver for KVM is in it, and is linked to libvirt only when it is used.
			Env: []string{"CGO_ENABLED=1", "GOFLAGS=-mod=readonly -tags=libvirt_dlopen"},
		}, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		program = built
	}
	os.Exit(m.Run())
}

// machine is an environment with nothing on PATH but Minikube and the system's own programs, and a Minikube of its own.
type machine struct {
	t    *testing.T
	home string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if program == "" {
		t.Skipf("%s names no Minikube: a path, or build for the pinned one (make minikube-test)", variable)
	}
	bin := t.TempDir()
	require.NoError(t, os.Symlink(program, filepath.Join(bin, "minikube")))
	m := &machine{t: t, home: t.TempDir()}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Setenv("HOME", m.home)
	t.Setenv("MINIKUBE_HOME", "")
	t.Setenv("KUBECONFIG", "")
	return m
}

func (m *machine) minikube(args ...string) (string, error) {
	out, err := exec.CommandContext(m.t.Context(), "minikube", args...).CombinedOutput()
	return string(out), err
}

func (m *machine) folder(profile string) string {
	return filepath.Join(m.home, ".minikube", "profiles", profile)
}

func TestTheSettingsRefuseWhatMinikubeRefuses(t *testing.T) {
	m := newMachine(t)
	for _, tt := range []struct {
		key, value string
		flags      []string
		says       string
	}{
		{"minikube.profile", "ab-", []string{"--profile", "ab-"}, "Only alphanumeric and dashes"},
		{"minikube.profile", "a", []string{"--profile", "a"}, "Minimum 2 characters"},
		{"minikube.profile", "start", []string{"--profile", "start"}, "start"},
		{"minikube.driver", "ssh", []string{"--driver", "ssh"}, "No IP address provided"},
		{"minikube.driver", "dockr", []string{"--driver", "dockr"}, "not supported"},
	} {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			out, err := m.minikube(append([]string{"start", "--dry-run", "--interactive=false"}, tt.flags...)...)
			require.Error(t, err, "Minikube takes it: the setting may take it too\n"+out)
			assert.Contains(t, out, tt.says)
			_, err = config.Load(config.Source{Stack: "dev", Values: map[string]string{tt.key: tt.value}})
			require.ErrorContains(t, err, tt.key)
		})
	}
}

// The preflight's refusals, which need more than the settings, are Minikube's too.
func TestMinikubeRefusesWhatThePreflightRefuses(t *testing.T) {
	m := newMachine(t)
	if runtime.GOOS != "linux" {
		t.Skip("the drivers of other systems are asked for on Linux")
	}
	for driver, says := range map[string]string{"hyperv": "not supported on linux", "hyperkit": "not supported on linux", "parallels": "not supported on linux"} {
		out, err := m.minikube("start", "--dry-run", "--interactive=false", "--driver", driver)
		require.Error(t, err)
		assert.Contains(t, out, says)
	}
	out, err := m.minikube("start", "--dry-run", "--interactive=false", "--driver", "docker", "--kubernetes-version", "v1.27.9")
	require.Error(t, err)
	assert.Contains(t, out, "1.27.9 is not supported by this release of minikube")
}

func TestMinikubeExitsAsTheScriptsExpect(t *testing.T) {
	m := newMachine(t)
	_, err := m.minikube("status", "--profile", "own")
	require.Error(t, err, "an up takes this for a node that does not run")
	out, err := m.minikube("delete", "--profile", "own")
	require.NoError(t, err, "a down of what is gone already is no error\n"+out)
	_, err = m.minikube("image", "ls", "--profile", "own")
	require.Error(t, err)

	require.NoError(t, os.MkdirAll(m.folder("own"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(m.folder("own"), "spire-falco"), []byte("mark\n"), 0o600))
	_, err = m.minikube("delete", "--profile", "own")
	require.NoError(t, err)
	assert.NoDirExists(t, m.folder("own"), "the mark dies with the profile")
}

func TestAFirstStartThatFailsLeavesNothing(t *testing.T) {
	m := newMachine(t)
	if _, err := exec.LookPath("virsh"); err == nil {
		t.Skip("this machine has the program of the driver that is to fail")
	}
	s, err := config.Load(config.Source{Stack: "dev", Values: map[string]string{"minikube.driver": "kvm2", "minikube.kubernetesVersion": "v1.35.1"}})
	require.NoError(t, err)
	theirs := filepath.Join(m.home, ".kube", "config")
	require.NoError(t, os.MkdirAll(filepath.Dir(theirs), 0o700))
	require.NoError(t, os.WriteFile(theirs, []byte("current-context: theirs\n"), 0o600))
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env := components.MinikubeEnvironment(s.Cluster.Minikube, kubeconfig)

	var log bytes.Buffer
	err = components.StartMinikube(t.Context(), env, "", &log)
	require.ErrorContains(t, err, "start the Minikube profile spire-falco", log.String())
	assert.Contains(t, log.String(), "KVM2")
	assert.Contains(t, log.String(), "what it left is deleted")
	assert.NoDirExists(t, m.folder("spire-falco"))
	assert.NoFileExists(t, kubeconfig)
	text, err := os.ReadFile(theirs)
	require.NoError(t, err)
	assert.Equal(t, "current-context: theirs\n", string(text), "the user's own kubeconfig")
	require.NoError(t, components.DeleteMinikube(t.Context(), env, &log), strings.TrimSpace(log.String()))
}
