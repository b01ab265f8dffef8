package components

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
)

// MinikubeEnvironment is the environment in which the stack's Minikube is started and deleted, scripts included. The
// kubeconfig's path is absolute: it also marks the profile as this stack's.
func MinikubeEnvironment(m config.Minikube, kubeconfig string) map[string]string {
	return map[string]string{
		"PROFILE":            m.Profile,
		"DRIVER":             m.Driver,
		"KUBERNETES_VERSION": m.KubernetesVersion,
		"CPUS":               strconv.Itoa(m.CPUs),
		"MEMORY_MIB":         strconv.Itoa(m.MemoryMiB),
		"DISK":               m.Disk,
		"CNI":                m.CNI,
		"KUBECONFIG":         kubeconfig,
		scriptVariable:       script("minikube-up.sh"),
		deleteVariable:       script("minikube-down.sh"),
	}
}

func (c *Cluster) newMinikube(ctx *pulumi.Context, name string, args *ClusterArgs) error {
	cmd, err := local.NewCommand(ctx, name+"-minikube", &local.CommandArgs{
		Create: pulumi.String(runScript),
		// Starting a profile again serves a new Kubernetes version. Another size, driver or disk needs a new cluster, and the
		// script refuses it: replacing the cluster under everything in it is for the user to decide.
		Update:      pulumi.String(runScript),
		Delete:      pulumi.String(runDelete),
		Environment: environment(MinikubeEnvironment(args.Settings.Minikube, args.Kubeconfig)),
		// A start takes minutes: its steps are shown as they happen. There is no secret in them.
		Logging: local.LoggingStderr,
	}, pulumi.Parent(c),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "20m", Update: "20m", Delete: "10m"}))
	if err != nil {
		return fmt.Errorf("register the Minikube cluster: %w", err)
	}
	c.minikube = cmd
	return nil
}

// StartMinikube brings up a cluster that the state has and that is down, as after a restart of the machine, with what the
// state keeps of it: its environment and what its last start printed. What Minikube says goes to log.
func StartMinikube(ctx context.Context, environment map[string]string, printed string, log io.Writer) error {
	env := map[string]string{"PULUMI_COMMAND_STDOUT": printed}
	for k, v := range environment {
		env[k] = v
	}
	if err := runMinikube(ctx, runScript, env, log); err != nil {
		return fmt.Errorf("start the Minikube profile %s: %w", environment["PROFILE"], err)
	}
	return nil
}

// DeleteMinikube deletes what a first start left that failed, and that the state does not have therefore. Without any of
// that it does nothing.
func DeleteMinikube(ctx context.Context, environment map[string]string, log io.Writer) error {
	if err := runMinikube(ctx, runDelete, environment, log); err != nil {
		return fmt.Errorf("delete the Minikube profile %s: %w", environment["PROFILE"], err)
	}
	return nil
}

// stopGrace is how long Minikube may take to end after it was interrupted.
const stopGrace = 10 * time.Second

func runMinikube(ctx context.Context, command string, environment map[string]string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command) //nolint:gosec // one of this package's two commands
	cmd.Env = os.Environ()
	for k, v := range environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	return cmd.Run() //nolint:wrapcheck // the callers say what it was for
}
