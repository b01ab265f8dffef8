// Package verify_test runs verify as its users do, against a fake cluster with a fake Falco.
package verify_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/detect/verify"
	"spire-falco/rules"
)

// The alerts that Falco 0.40.0 raised for each scenario on a real cluster, with placeholders for run, pods and ports.
//
//go:embed testdata/alerts.json
var recordedAlerts []byte

// The alerts expected of scenarios that are newer than the recording; the next run on a cluster should record them.
//
//go:embed testdata/alerts-expected.json
var expectedAlerts []byte

func settings(t *testing.T) (*config.Settings, *rules.Rendered) {
	t.Helper()
	s, err := config.Load(config.Source{Stack: "test", Values: map[string]string{
		"enableFalco": "true", "cluster.testing": "true", "cluster.mode": "existing", "cluster.kubeconfig": "/none", "cluster.context": "test",
		"image.repository": "registry.example.org/mtls",
	}})
	require.NoError(t, err)
	rendered, err := rules.RenderSettings(s, ".")
	require.NoError(t, err)
	return s, rendered
}

// scene returns a fake cluster and the options to verify it quickly.
func scene(t *testing.T) (*standin, verify.Options) {
	t.Helper()
	s, rendered := settings(t)
	known := readRecorded(t, recordedAlerts)
	for id, alert := range readRecorded(t, expectedAlerts) {
		assert.NotContains(t, known, id, "a recorded alert is better")
		known[id] = alert
	}
	cluster := newStandin(t, rendered, known)
	client, err := kube.NewForConfig(&rest.Config{Host: cluster.URL})
	require.NoError(t, err)
	return cluster, verify.Options{
		Settings: s, Rules: rendered, Client: client, Quiet: 50 * time.Millisecond,
		AlertTimeout: 2 * time.Second, StartTimeout: 2 * time.Second, CleanupTimeout: 2 * time.Second,
		Settle: 20 * time.Millisecond, Poll: 5 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	t.Run("a stack whose Falco detects everything is verified", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		var out bytes.Buffer
		o.Out = &out
		report, err := verify.Run(t.Context(), o)
		require.NoError(t, err, out.String())
		assert.True(t, report.Passed)
		require.Len(t, report.Scenarios, len(verify.Scenarios()))
		for _, r := range report.Scenarios {
			assert.Equal(t, verify.Passed, r.Outcome, r.ID+": "+r.Detail)
			assert.True(t, r.Fired && r.Delivered, r.ID)
			assert.NotEmpty(t, r.Alert, r.ID)
			assert.Contains(t, out.String(), r.ID)
		}
		assert.Contains(t, out.String(), "verified: ")
		assert.Contains(t, out.String(), "0 false positives")
		assert.Contains(t, strings.Join(report.Quiet.Done, "\n"), "rotations of a short-lived SVID")
		assert.Contains(t, strings.Join(report.Quiet.Done, "\n"), "69 of 70 requests over mutual TLS answered")
		assert.Contains(t, strings.Join(report.Quiet.Done, "\n"), "rollout of DaemonSet spire/spire-agent")
		assert.Empty(t, cluster.leftovers())
		assert.NotContains(t, cluster.everMade(), "", "everything has the label")
	})
	t.Run("only the rollouts change existing objects", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		_, err := verify.Run(t.Context(), o)
		require.NoError(t, err)
		patches := cluster.deploymentPatches()
		assert.Len(t, patches, 3)
		for _, p := range patches {
			assert.Regexp(t, `^\S+ \{"spec":\{"template":\{"metadata":\{"annotations":\{"kubectl.kubernetes.io/restartedAt":"[^"]+"\}\}\}\}\}$`, p)
		}
	})
	t.Run("only the named scenarios are performed", func(t *testing.T) {
		t.Parallel()
		_, o := scene(t)
		o.Only, o.Quiet = []string{"token", "outbound"}, 0
		report, err := verify.Run(t.Context(), o)
		require.NoError(t, err)
		assert.Len(t, report.Scenarios, 2)
		assert.Nil(t, report.Quiet)
	})
}

func TestVerifyFindsTheFault(t *testing.T) {
	t.Parallel()
	const shell = "Unexpected Shell Spawned in mTLS Container"
	for _, c := range []struct {
		name  string
		fault func(*standin)
		want  string
	}{
		{"a disabled rule is named", func(s *standin) { s.mute[shell] = true }, `shell-exec: rule "Unexpected Shell Spawned in mTLS Container" did not fire`},
		{"an alert that Falcosidekick did not get", func(s *standin) { s.undelivered[shell] = true }, `rule "Unexpected Shell Spawned in mTLS Container" fired, but Falcosidekick did not count the alert`},
		{"a false positive is shown with its fields", func(s *standin) { s.noisy = shell }, "false positive: " + shell + " (mtls/mtls-server-1): noise"},
		{"dropped events", func(s *standin) { s.drops = true }, "Falco dropped no events: no: node node-1: 42607 events"},
		{"a restart of Falco", func(s *standin) { s.restart = true }, "Falco did not restart: no: falco-1 restarted 1 times"},
		{"rules of another hash", func(s *standin) { s.otherRules = true }, "pod falco-1 was started with rules of hash 000000000000"},
		{"an image without tools is an error of the attack, not a missing alert", func(s *standin) { s.noTool = true }, "shell-exec: the attack could not be performed: sh cannot be run in image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cluster, o := scene(t)
			c.fault(cluster)
			o.AlertTimeout = 200 * time.Millisecond
			o.Only = []string{"shell-exec", "shell-debug", "port-server"}
			var out bytes.Buffer
			o.Out = &out
			report, err := verify.Run(t.Context(), o)
			require.ErrorIs(t, err, verify.ErrNotVerified)
			assert.False(t, report.Passed)
			assert.Contains(t, out.String(), "NOT verified:")
			assert.Contains(t, out.String(), c.want)
			assert.Empty(t, cluster.leftovers(), "a failed run cleans up too")
			var xmlOut bytes.Buffer
			require.NoError(t, report.WriteJUnit(&xmlOut))
			assert.Regexp(t, `<(failure|error) message=`, xmlOut.String())
		})
	}
	t.Run("an alert of another rule is counted, but is no false positive", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		cluster.noisy = "Terminal shell in container"
		o.Only = []string{"token"}
		report, err := verify.Run(t.Context(), o)
		require.NoError(t, err)
		assert.Equal(t, 1, report.Quiet.OtherAlerts)
	})
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*verify.Options, *standin)
		want   string
	}{
		{"a stack that is not marked as a test stack", func(o *verify.Options, _ *standin) { o.Settings.Cluster.Testing = false }, "set cluster.testing to true in its settings, or use --force"},
		{"a stack without Falco", func(o *verify.Options, _ *standin) { o.Settings.EnableFalco = false }, "enableFalco = false"},
		{"an unknown scenario", func(o *verify.Options, _ *standin) { o.Only = []string{"nosuch"} }, `--only = "nosuch": must be one of socket-node, `},
		{"an unknown workload", func(o *verify.Options, _ *standin) { o.Workload = "nosuch" }, `--workload = "nosuch": must be a workload that listens on a port: mtls-server`},
		{"a cluster without Falco", func(_ *verify.Options, s *standin) { s.objects = map[string]object{} }, "there is no Falco: DaemonSet falco/falco does not exist"},
		{"a namespace of the same name that is not verify's", func(_ *verify.Options, s *standin) {
			s.put(verifySpace, object{"metadata": object{"name": "spire-falco-verify", "labels": object{}}})
		}, "namespace spire-falco-verify exists and is not verify's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cluster, o := scene(t)
			c.change(&o, cluster)
			report, err := verify.Run(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, report)
			assert.Empty(t, cluster.everMade(), "nothing is attacked")
		})
	}
	t.Run("but not with --force", func(t *testing.T) {
		t.Parallel()
		_, o := scene(t)
		o.Settings.Cluster.Testing, o.Force, o.Only, o.Quiet = false, true, []string{"token"}, 0
		_, err := verify.Run(t.Context(), o)
		require.NoError(t, err)
	})
}

func leftBehind(beats string) map[string]object {
	labels := object{verifyLabel: "dead01"}
	return map[string]object{
		verifySpace:                             {"metadata": object{"name": "spire-falco-verify", "uid": "u", "labels": labels, "annotations": object{"spire-falco/verify-heartbeat": beats}}},
		verifySpace + "/pods/n":                 {"metadata": object{"name": "n", "namespace": "spire-falco-verify", "labels": labels}},
		"/api/v1/namespaces/mtls/pods/t":        {"metadata": object{"name": "t", "namespace": "mtls", "labels": labels}},
		identities + "/spire-falco-verify-dead": {"metadata": object{"name": "spire-falco-verify-dead", "labels": labels}},
	}
}

func TestVerifyCleansUp(t *testing.T) {
	t.Parallel()
	t.Run("after a run that was killed", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		for path, object := range leftBehind("dead01-7") {
			cluster.put(path, object)
		}
		var notes bytes.Buffer
		o.Only, o.Quiet, o.Notes = []string{"token"}, 0, &notes
		_, err := verify.Run(t.Context(), o)
		require.NoError(t, err)
		assert.Contains(t, notes.String(), "removing the leftovers of run dead01, which was killed")
		assert.Empty(t, cluster.leftovers())
	})
	t.Run("but not an active run", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		for path, object := range leftBehind("dead01-7") {
			cluster.put(path, object)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var alive sync.WaitGroup
		alive.Go(func() {
			for n := 8; ctx.Err() == nil; n++ {
				cluster.put(verifySpace, leftBehind("dead01-" + string(rune('A'+n%20)))[verifySpace])
				time.Sleep(10 * time.Millisecond)
			}
		})
		_, err := verify.Run(t.Context(), o)
		cancel()
		alive.Wait()
		require.ErrorContains(t, err, "another verify (run dead01) is running on this cluster")
		assert.Len(t, cluster.leftovers(), 4)
	})
	t.Run("when it is cancelled during an attack", func(t *testing.T) {
		t.Parallel()
		cluster, o := scene(t)
		cluster.holdExec = make(chan struct{})
		defer close(cluster.holdExec)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		report, err := verify.Run(ctx, o)
		require.ErrorIs(t, err, context.Canceled)
		assert.True(t, report.Interrupted)
		assert.NotEmpty(t, cluster.everMade())
		assert.Empty(t, cluster.leftovers())
	})
}

// stack is the program itself, built once, next to stack-engine, to which it passes commands on.
var stack = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stack")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "stack")
	out, err := exec.Command("go", "build", "-o", dir+"/", "../../cmd/stack", "../../cmd/stack-engine").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := stack(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// project returns a folder with the settings of a stack on the cluster.
func project(t *testing.T, cluster *standin) string {
	t.Helper()
	dir := t.TempDir()
	pulumi, err := os.ReadFile("../../Pulumi.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), pulumi, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+cluster.URL+`"}}]
contexts: [{name: test, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.ci.yaml"), []byte(`config:
  spire-falco:enableFalco: true
  spire-falco:cluster.mode: existing
  spire-falco:cluster.kubeconfig: kubeconfig
  spire-falco:cluster.context: test
  spire-falco:cluster.testing: true
  spire-falco:image.repository: registry.example.org/mtls
`), 0o600))
	return dir
}

type outcome struct {
	code        int
	out, errOut string
}

func runStack(t *testing.T, dir string, started func(*os.Process), args ...string) outcome {
	t.Helper()
	path, err := stack()
	require.NoError(t, err)
	command := exec.Command(path, append([]string{"--stack", "ci", "--dir", dir}, args...)...)
	var out, errOut bytes.Buffer
	command.Stdout, command.Stderr = &out, &errOut
	command.Env = append(os.Environ(), "GITHUB_ACTIONS=true", "ENABLE_FALCO=true")
	require.NoError(t, command.Start())
	if started != nil {
		started(command.Process)
	}
	err = command.Wait()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	return outcome{command.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	t.Run("verify writes the table and both reports and exits with 0", func(t *testing.T) {
		t.Parallel()
		cluster, _ := scene(t)
		dir := project(t, cluster)
		jsonPath, xmlPath := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.xml")
		got := runStack(t, dir, nil, "verify", "--quiet", "1s", "--json", jsonPath, "--junit", xmlPath)
		require.Zero(t, got.code, got.out+got.errOut)
		assert.Regexp(t, `(?m)^ok +socket-node +Unauthorized Access to SPIRE Socket +Critical +yes +\d+ ms +yes$`, got.out)
		content, err := os.ReadFile(jsonPath)
		require.NoError(t, err)
		var report verify.Report
		require.NoError(t, json.Unmarshal(content, &report))
		assert.True(t, report.Passed)
		assert.Len(t, report.Scenarios, len(verify.Scenarios()))
		content, err = os.ReadFile(xmlPath)
		require.NoError(t, err)
		var suites struct {
			Suites []struct {
				Tests    int `xml:"tests,attr"`
				Failures int `xml:"failures,attr"`
				Cases    []struct {
					Class string `xml:"classname,attr"`
					Name  string `xml:"name,attr"`
					Time  string `xml:"time,attr"`
				} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		require.NoError(t, xml.Unmarshal(content, &suites))
		require.Len(t, suites.Suites, 1)
		suite := suites.Suites[0]
		assert.NotZero(t, suite.Tests)
		assert.Len(t, suite.Cases, suite.Tests)
		for _, c := range suite.Cases {
			if c.Class == "verify.scenario" {
				assert.NotEqual(t, "0.000", c.Time, c.Name)
			}
		}
		assert.Zero(t, suite.Failures)
		assert.Empty(t, cluster.leftovers())
	})
	t.Run("verify exits with 2 when a rule is disabled, and names it", func(t *testing.T) {
		t.Parallel()
		cluster, _ := scene(t)
		cluster.mute["Certificate File Modification"] = true
		got := runStack(t, project(t, cluster), nil, "verify", "--quiet", "0s", "--alert-timeout", "1s", "--only", "certificate-delete,token", "--json", "-")
		assert.Equal(t, 2, got.code, got.out+got.errOut)
		assert.Contains(t, got.errOut, `certificate-delete: rule "Certificate File Modification" did not fire`)
		assert.True(t, json.Valid([]byte(got.out)), got.out)
	})
	t.Run("SIGINT removes everything and exits with 130", func(t *testing.T) {
		t.Parallel()
		cluster, _ := scene(t)
		cluster.holdExec = make(chan struct{})
		defer close(cluster.holdExec)
		got := runStack(t, project(t, cluster), func(p *os.Process) {
			assert.Eventually(t, func() bool { return len(cluster.everMade()) >= 4 }, 20*time.Second, 10*time.Millisecond)
			time.Sleep(200 * time.Millisecond)
			assert.NoError(t, p.Signal(syscall.SIGINT))
		}, "verify")
		assert.Equal(t, 130, got.code, got.out+got.errOut)
		assert.Empty(t, cluster.leftovers())
	})
	t.Run("alerts --fail-on critical exits with 2 on a critical alert and with 0 on warnings", func(t *testing.T) {
		t.Parallel()
		cluster, _ := scene(t)
		cluster.mu.Lock()
		cluster.tell("shell-exec", "p", "")
		cluster.mu.Unlock()
		dir := project(t, cluster)
		got := runStack(t, dir, nil, "alerts", "--fail-on", "critical")
		assert.Zero(t, got.code, got.out+got.errOut)
		assert.Contains(t, got.out, "Unexpected Shell Spawned in mTLS Container")
		cluster.mu.Lock()
		cluster.tell("sensitive-file", "p", "")
		cluster.mu.Unlock()
		got = runStack(t, dir, nil, "alerts", "--fail-on", "critical")
		assert.Equal(t, 2, got.code, got.out+got.errOut)
		assert.Contains(t, got.errOut, "::error title=Falco Critical%3A Sensitive File Read by mTLS Process::")
		assert.Contains(t, got.errOut, "--fail-on critical: 1 alert of priority critical or more severe: Sensitive File Read by mTLS Process (1)")
	})
	t.Run("an invalid flag is named in the error", func(t *testing.T) {
		t.Parallel()
		cluster, _ := scene(t)
		dir := project(t, cluster)
		for _, args := range [][]string{
			{"alerts", "--min-priority", "severe"},
			{"alerts", "--fail-on", "x"},
			{"alerts", "--since", "yesterday"},
			{"alerts", "--output", "xml"},
			{"alerts", "--color", "x"},
			{"alerts", "--github", "x"},
			{"verify", "--workload", "x"},
			{"verify", "--only", "x"},
		} {
			got := runStack(t, dir, nil, args...)
			assert.Equal(t, 1, got.code)
			assert.Contains(t, got.errOut, args[1])
		}
	})
}

func TestEveryRuleHasAScenario(t *testing.T) {
	t.Parallel()
	_, rendered := settings(t)
	attacked := map[string]bool{}
	known := map[string]bool{}
	for _, s := range verify.Scenarios() {
		attacked[s.Rule] = true
		assert.NotContains(t, known, s.ID, "IDs are unique")
		known[s.ID] = true
	}
	for _, rule := range rendered.Rules {
		assert.True(t, attacked[rule.Name], "rule %q has no scenario", rule.Name)
		delete(attacked, rule.Name)
	}
	assert.Empty(t, attacked, "scenarios of rules that do not exist")
}
