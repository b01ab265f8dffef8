// Command stack-engine has the commands of stack that need the Pulumi engine or a cluster: it plans, brings up,
// attacks, watches and takes down the stack. People call them through cmd/stack, which starts this program.
package main

import (
	"context"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
)

func main() {
	ctx, stop := cli.Interruptible(context.Background())
	defer stop()
	cli.Main(ctx, newRootCommand())
}

// target is the stack that a command works on.
type target struct {
	cli.Target
}

func newRootCommand() *cobra.Command {
	t := &target{}
	root := cli.NewRoot(&t.Target)
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if c.Name() == cobra.ShellCompRequestCmd { // what there is to type is the same without a project
			return nil
		}
		return t.Find()
	}
	root.AddCommand(
		newPreviewCommand(t),
		newUpCommand(t),
		newDownCommand(t),
		newOutputsCommand(t),
		newPulumiCommand(t),
		newVerifyCommand(t),
		newAlertsCommand(t),
	)
	return root
}
