// Command stack is the program's own command line. It checks, tries, tests and explains Falco rules itself, and hands
// the commands that plan, bring up, attack, watch and take down the stack over to cmd/stack-engine: that one has the
// Pulumi SDK and Kubernetes' client in it, which take minutes to compile and 20 ms to start.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
)

func main() {
	cli.Main(context.Background(), newRootCommand(os.Args[1:]))
}

// newRootCommand is the command line for args, which it hands over as they are.
func newRootCommand(args []string) *cobra.Command {
	t := &cli.Target{}
	root := cli.NewRoot(t)
	root.AddCommand(newRulesCommand(t))
	for _, c := range cli.EngineCommands() {
		root.AddCommand(newHandedOverCommand(c, args))
	}
	return root
}
