package components

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
)

// MinikubeEnvironment returns the environment in which the stack's Minikube is started and deleted, including the
// scripts. The kubeconfig's path must be absolute: it also marks the profile as this stack's.
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

func newMinikube(
	ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption,
) (*local.Command, error) {
	cmd, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create: pulumi.String(runScript),
		// Starting the profile again upgrades Kubernetes. Another size, driver or disk needs a new cluster, which the script
		// refuses: replacing the cluster with everything in it is for the user to decide.
		Update:      pulumi.String(runScript),
		Delete:      pulumi.String(runDelete),
		Environment: environment(MinikubeEnvironment(args.Settings.Minikube, args.Kubeconfig)),
		// A start takes minutes, so its steps are shown. They contain no secrets.
		Logging: local.LoggingStderr,
	}, with(opts, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "20m", Update: "20m", Delete: "10m"}))...)
	if err != nil {
		return nil, fmt.Errorf("register the Minikube cluster: %w", err)
	}
	return cmd, nil
}

// StartMinikube starts a cluster that is in the state but not running, for example after a reboot. environment and
// printed are the command's environment and output in the state. Minikube's output goes to log.
func StartMinikube(ctx context.Context, environment map[string]string, printed string, log io.Writer) error {
	env := map[string]string{"PULUMI_COMMAND_STDOUT": printed}
	maps.Copy(env, environment)
	if err := runMinikube(ctx, runScript, env, log); err != nil {
		return fmt.Errorf("start the Minikube profile %s: %w", environment["PROFILE"], err)
	}
	return nil
}

// DeleteMinikube deletes the leftovers of a first start that failed and is therefore not in the state, if there are
// any.
func DeleteMinikube(ctx context.Context, environment map[string]string, log io.Writer) error {
	if err := runMinikube(ctx, runDelete, environment, log); err != nil {
		return fmt.Errorf("delete the Minikube profile %s: %w", environment["PROFILE"], err)
	}
	return nil
}

// stopGrace is how long Minikube may take to end after an interrupt.
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
	return cmd.Run() //nolint:wrapcheck // the callers do
}
