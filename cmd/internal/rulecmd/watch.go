package rulecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"spire-falco/cmd/internal/cli"
	"spire-falco/falco/ruletest"
)

// pollInterval is how often watch looks at the files. A person does not notice half of it.
const pollInterval = 300 * time.Millisecond

// watch runs the tests, and again whenever one of their files changes, until it is interrupted.
func (o *testOptions) watch(ctx context.Context, args []string, out io.Writer) error {
	ctx, stop := cli.Interruptible(ctx)
	defer stop()
	for {
		// Before the run, so that what changes while it runs is seen after it.
		files := o.watched(args)
		before := stamps(args, files)
		results, err := o.runAll(args)
		if err == nil {
			err = o.finish(out, results)
		}
		var code cli.ExitCode
		if err != nil && !errors.As(err, &code) {
			cli.WriteError(out, err)
		}
		fmt.Fprintf(out, "%s, watching %d files\n\n", time.Now().Format(time.TimeOnly), len(files))
		if !waitForChange(ctx, func() bool { return stamps(args, files) != before }) {
			return nil
		}
	}
}

// watched are the files that the outcome depends on.
func (o *testOptions) watched(args []string) []string {
	var files []string
	paths, _ := testFiles(args) // the run reports the error
	for _, path := range paths {
		files = append(files, ruletest.Read(path, o.overrides).Files()...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// waitForChange returns when there is a change; false when the context ends.
func waitForChange(ctx context.Context, changed func() bool) bool {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
			if changed() {
				return true
			}
		}
	}
}

// stamps is a text that changes with the sizes and times of the files.
func stamps(args, files []string) string {
	var b strings.Builder
	found, err := testFiles(args)
	fmt.Fprintln(&b, found, err)
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		} else {
			fmt.Fprintln(&b, path, err)
		}
	}
	return b.String()
}
