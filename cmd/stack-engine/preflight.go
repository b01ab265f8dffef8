package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"spire-falco/config"
	"spire-falco/report"
)

// tools is what a preflight asks of the machine.
type tools interface {
	// has tells whether a program is on PATH.
	has(name string) bool
	// run runs a program and returns what it printed.
	run(ctx context.Context, name string, args ...string) (string, error)
}

type systemTools struct{}

func (systemTools) has(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func (systemTools) run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // fixed programs, checked settings
	return strings.TrimSpace(string(out)), err                           //nolint:wrapcheck // the caller says what it was for
}

// serviceMonitorCRD is what the Prometheus Operator brings.
const serviceMonitorCRD = "servicemonitors.monitoring.coreos.com"

// preflight checks what an up needs before it changes anything, and says for each thing that is missing how to get it.
func preflight(ctx context.Context, dir string, s *config.Settings, t tools) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	var missing []error
	add := func(format string, args ...any) { missing = append(missing, fmt.Errorf(format, args...)) }
	switch s.Cluster.Mode {
	case config.ModeMinikube:
		missing = append(missing, preflightMinikube(ctx, s, t)...)
	case config.ModeExisting:
		path := s.Cluster.KubeconfigPath(dir)
		if _, err := os.Stat(path); err != nil {
			add("cluster.kubeconfig = %q: there is no such file", s.Cluster.Kubeconfig)
			break
		}
		if !t.has("kubectl") {
			add("kubectl is not installed: see https://kubernetes.io/docs/tasks/tools/")
			break
		}
		get := func(args ...string) (string, error) {
			return t.run(ctx, "kubectl", append([]string{"--kubeconfig", path, "--context", s.Cluster.Context, "--request-timeout=20s", "get"}, args...)...)
		}
		if out, err := get("--raw", "/readyz"); err != nil {
			add("the cluster of context %s in %s does not answer: %s", s.Cluster.Context, s.Cluster.Kubeconfig, lastLine(out))
			break
		}
		if !s.EnableFalco {
			break
		}
		out, err := get("nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kernelVersion} {.status.nodeInfo.containerRuntimeVersion}{"\n"}{end}`)
		if err != nil {
			add("the nodes of the cluster cannot be listed: %s", lastLine(out))
			break
		}
		if s.Falco.ServiceMonitor {
			out, err := get("crd", "-o", "name", "--ignore-not-found", serviceMonitorCRD)
			switch {
			case err != nil:
				add("the CRD %s cannot be looked for: %s", serviceMonitorCRD, lastLine(out))
			case out == "":
				add("falco.serviceMonitor = true: the cluster has no CRD %s: install the Prometheus Operator first, or set it to false", serviceMonitorCRD)
			}
		}
		for line := range strings.Lines(out) {
			node, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			kernel, runtime, _ := strings.Cut(rest, " ")
			if err := s.Falco.Chart.CheckNode(kernel, runtime); err != nil {
				add("node %s: %s", report.Text(node), report.Text(err.Error()))
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("nothing was changed; what is missing:\n%w", errors.Join(missing...))
}

// lastLine is the last line of what a program said.
func lastLine(text string) string {
	const shown = 500
	return report.Bounded(text[strings.LastIndex(text, "\n")+1:], shown)
}
