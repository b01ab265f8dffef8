// Command falcorules checks, tries and explains anybody's Falco rules. It needs no Falco, kernel or root, and knows nothing
// of Pulumi or Kubernetes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/cmd/internal/rulecmd"
	"spire-falco/falco"
)

// exitBroken is the exit code when there is no verdict: bad flags, or files that cannot be read. 1 is a bad verdict.
const exitBroken = 2

func main() {
	err := newRootCommand().ExecuteContext(context.Background())
	if err == nil {
		return
	}
	var code cli.ExitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	cli.WriteError(os.Stderr, err)
	os.Exit(exitBroken)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "falcorules",
		Short: "Check, try and explain Falco rules; no Falco, kernel or root is needed",
		Long: "Check, try and explain Falco rules; no Falco, kernel or root is needed.\n\n" +
			"Exit codes: 0 all is well; 1 the verdict is bad; 2 there is no verdict, since a flag or a file is.",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	source := rulecmd.Source{Choose: choose, DefaultFalco: "the newest known, " + falco.Newest().Number}
	root.AddCommand(source.Check(), source.Test(), source.Eval(), source.Explain(), source.Lint())
	return root
}

// choose is the Falco that --falco names, or the newest.
func choose(number string) (rulecmd.Judge, error) {
	if number == "" {
		return rulecmd.Newest(), nil
	}
	return rulecmd.Lookup(number)
}

// version is that of the build, and the Falcos that are known.
func version() string {
	built := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		built = info.Main.Version
	}
	known := falco.Versions()
	return fmt.Sprintf("%s, for Falco %s to %s", built, known[0].Number, known[len(known)-1].Number)
}
