// Command spire-falco is the Pulumi program that `pulumi preview`, `pulumi up` and `pulumi destroy` run.
package main

import (
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/program"
	"spire-falco/report"
)

func main() {
	keys, err := program.KeysFromEnvironment()
	if err != nil {
		fmt.Fprintln(os.Stderr, report.Lines(err.Error()))
		os.Exit(1)
	}
	pulumi.Run(program.New(program.Options{Keys: keys}))
}
