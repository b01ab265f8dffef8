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
	"spire-falco/falco"
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

// driverPrograms are what Minikube's drivers need on PATH; other drivers bring what they need or ask the system.
var driverPrograms = map[string]string{"docker": "docker", "podman": "podman", "kvm2": "virsh", "qemu2": "qemu-system-x86_64", "virtualbox": "VBoxManage"}

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
		if !t.has("minikube") {
			add("minikube is not installed: see https://minikube.sigs.k8s.io/docs/start/, or use a cluster you have with cluster.mode existing")
		} else if out, err := t.run(ctx, "minikube", "version", "--short"); err == nil {
			if err := checkMinikube(out, s.Cluster.Minikube.KubernetesVersion); err != nil {
				missing = append(missing, err)
			}
		}
		driver := s.Cluster.Minikube.Driver
		if program := driverPrograms[driver]; program != "" && !t.has(program) {
			add("the Minikube driver %s needs %s, which is not installed: see https://minikube.sigs.k8s.io/docs/drivers/%s/", driver, program, driver)
		} else if driver == "docker" {
			if out, err := t.run(ctx, "docker", "info", "--format", "{{.ServerVersion}}"); err != nil {
				add("Docker does not answer (%s): start it, or choose another minikube.driver", lastLine(out))
			}
		}
	case config.ModeExisting:
		path := kubeconfig(dir, s)
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

// The first Minikube that supports the Kubernetes of the settings' default: its release notes name 1.36 and 1.37.
const (
	minikubeRelease    = "1.39.0"
	minikubeKubernetes = "1.36"
)

// checkMinikube reports a Minikube that is older than the Kubernetes that it is to run. A version that cannot be read is
// not judged.
func checkMinikube(version, kubernetes string) error {
	version = strings.TrimPrefix(strings.TrimSpace(version), "v")
	if !strings.Contains(version, ".") || falco.CompareReleases(version, minikubeRelease) >= 0 ||
		falco.CompareReleases(strings.TrimPrefix(kubernetes, "v"), minikubeKubernetes) < 0 {
		return nil
	}
	return fmt.Errorf("minikube %s does not support Kubernetes %s; %s is the first that supports %s: update it, or set minikube.kubernetesVersion to v1.35.9",
		report.Text(version), kubernetes, minikubeRelease, minikubeKubernetes)
}

// lastLine is the last line of what a program said.
func lastLine(text string) string {
	const shown = 500
	return report.Bounded(text[strings.LastIndex(text, "\n")+1:], shown)
}
