package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"spire-falco/components"
	"spire-falco/config"
	"spire-falco/engine"
	"spire-falco/falco"
	"spire-falco/report"
)

// driverPrograms are what Minikube's drivers need on PATH; other drivers bring what they need or ask the system.
var driverPrograms = map[string]string{"docker": "docker", "podman": "podman", "kvm2": "virsh", "qemu2": "qemu-system-x86_64", "virtualbox": "VBoxManage"}

// driverSystems are the drivers that exist for one system only (Minikube 1.38.1, package registry/drvs).
var driverSystems = map[string]string{"kvm2": "linux", "none": "linux", "hyperv": "windows", "hyperkit": "darwin", "parallels": "darwin"}

// capacity asks a driver whose node is a container for the kernel, the processors and the bytes of memory that it has.
var capacity = map[string][]string{
	"docker": {"info", "--format", "{{.KernelVersion}} {{.NCPU}} {{.MemTotal}}"},
	"podman": {"info", "--format", "{{.Host.Kernel}} {{.Host.CPUs}} {{.Host.MemTotal}}"},
}

// preflightMinikube checks what Minikube needs before it is started: it takes minutes to refuse, and may leave a node.
func preflightMinikube(ctx context.Context, s *config.Settings, t tools) []error {
	var missing []error
	add := func(format string, args ...any) { missing = append(missing, fmt.Errorf(format, args...)) }
	m := s.Cluster.Minikube
	if !t.has("minikube") {
		add("minikube is not installed: see https://minikube.sigs.k8s.io/docs/start/, or use a cluster you have with cluster.mode existing")
	} else if out, err := t.run(ctx, "minikube", "version", "--short"); err == nil {
		if err := checkMinikube(out, m.KubernetesVersion); err != nil {
			missing = append(missing, err)
		}
	}
	if system := driverSystems[m.Driver]; system != "" && system != runtime.GOOS {
		add("minikube.driver = %s is for %s, and this machine has %s: choose another, such as docker", m.Driver, system, runtime.GOOS)
		return missing
	}
	if m.Driver == "none" {
		if out, err := t.run(ctx, "id", "-u"); err == nil && out != "0" {
			add("minikube.driver = none makes this machine the node and needs root: choose another, such as docker")
		}
		if out, err := t.run(ctx, "uname", "-r"); err == nil {
			missing = append(missing, checkKernel(s, out)...)
		}
		return missing
	}
	if program := driverPrograms[m.Driver]; program != "" && !t.has(program) {
		add("the Minikube driver %s needs %s, which is not installed: see https://minikube.sigs.k8s.io/docs/drivers/%s/", m.Driver, program, m.Driver)
		return missing
	}
	if capacity[m.Driver] == nil {
		return missing
	}
	out, err := askDriver(ctx, m.Driver, t)
	if err != nil {
		return append(missing, err)
	}
	fields := strings.Fields(lastLine(out))
	if len(fields) != 3 { //nolint:mnd // what capacity asks for; another answer is not judged
		return missing
	}
	missing = append(missing, checkKernel(s, fields[0])...)
	if cpus, err := strconv.Atoi(fields[1]); err == nil && m.CPUs > cpus {
		add("minikube.cpus = %d: %s has %d", m.CPUs, m.Driver, cpus)
	}
	if bytes, err := strconv.ParseInt(fields[2], 10, 64); err == nil && m.MemoryMiB > int(bytes>>20) {
		add("minikube.memory = %d: %s has %d MiB", m.MemoryMiB, m.Driver, bytes>>20)
	}
	return missing
}

// askDriver asks the engine behind a driver for what it has, and says what to do when it does not answer.
func askDriver(ctx context.Context, driver string, t tools) (string, error) {
	out, err := t.run(ctx, driver, capacity[driver]...)
	switch {
	case err == nil:
		return out, nil
	case strings.Contains(out, "permission denied"):
		return "", fmt.Errorf("%[1]s refuses this user: add it to the group %[1]s and log in again", driver)
	case strings.Contains(out, "template:"), strings.Contains(out, "Cannot connect"), out == "":
		// With its daemon down, a client such as Docker 20.10 fills the template with nothing, and reports that.
		return "", fmt.Errorf("%s is not running: start it", driver)
	default:
		return "", fmt.Errorf("%s does not answer: %s", driver, lastLine(out))
	}
}

// checkKernel reports a kernel that Falco's probe does not load on. With the drivers that make no virtual machine it is
// known before there is a node.
func checkKernel(s *config.Settings, kernel string) []error {
	if !s.EnableFalco {
		return nil
	}
	if err := s.Falco.Chart.CheckNode(kernel, ""); err != nil {
		return []error{fmt.Errorf("the node's kernel: %s", report.Text(err.Error()))}
	}
	return nil
}

const (
	// The first Minikube that supports the Kubernetes of the settings' default: its release notes name 1.36 and 1.37.
	minikubeRelease    = "1.39.0"
	minikubeKubernetes = "1.36"
	// oldestKubernetes is the oldest that Minikube starts: OldestKubernetesVersion of its constants, in 1.38.1 and since.
	oldestKubernetes = "1.28.0"
)

// checkMinikube reports a Kubernetes that Minikube does not start, since it is too old for it or too new. A version of
// Minikube that cannot be read is not judged.
func checkMinikube(version, kubernetes string) error {
	kubernetes = strings.TrimPrefix(kubernetes, "v")
	if falco.CompareReleases(kubernetes, oldestKubernetes) < 0 {
		return fmt.Errorf("minikube.kubernetesVersion = v%s: the oldest that Minikube starts is v%s", kubernetes, oldestKubernetes)
	}
	version = strings.TrimPrefix(strings.TrimSpace(version), "v")
	if !strings.Contains(version, ".") || falco.CompareReleases(version, minikubeRelease) >= 0 ||
		falco.CompareReleases(kubernetes, minikubeKubernetes) < 0 {
		return nil
	}
	return fmt.Errorf("minikube %s does not support Kubernetes v%s; %s is the first that supports %s: update it, or set minikube.kubernetesVersion to v1.35.9",
		report.Text(version), kubernetes, minikubeRelease, minikubeKubernetes)
}

// state knows the Minikube that the stack made.
type state interface {
	Minikube(ctx context.Context) (*engine.Minikube, error)
}

// preflightDown asks for the engine behind the node's driver: without it Minikube forgets the node, exits with 0, and
// the node comes back with the engine.
func preflightDown(ctx context.Context, s state, t tools) error {
	m, err := s.Minikube(ctx)
	if err != nil || m == nil || capacity[m.Environment["DRIVER"]] == nil {
		return err
	}
	if _, err := askDriver(ctx, m.Environment["DRIVER"], t); err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	return nil
}

// resumeMinikube starts the Minikube that the state has when it is down, as after a restart of the machine: no resource
// changes then, so nothing else would start it.
func resumeMinikube(ctx context.Context, e state, t tools, log io.Writer) error {
	m, err := e.Minikube(ctx)
	if err != nil || m == nil {
		return err
	}
	profile := m.Environment["PROFILE"]
	if _, err := t.run(ctx, "minikube", "status", "--profile", profile); err == nil {
		return nil
	}
	report.Fprintf(log, "the Minikube cluster %s does not run; starting it\n", profile)
	return components.StartMinikube(ctx, m.Environment, m.Printed, report.Writer(log))
}

// clearMinikube deletes what a first start left that failed, and that the state does not have.
func (t *target) clearMinikube(ctx context.Context, s *config.Settings, log io.Writer) error {
	if s.Cluster.Mode != config.ModeMinikube {
		return nil
	}
	environment := components.MinikubeEnvironment(s.Cluster.Minikube, s.Cluster.KubeconfigPath(t.Dir))
	return components.DeleteMinikube(ctx, environment, report.Writer(log))
}
