// Command mtls-image builds the image of mtls-server and mtls-client, and writes it as an OCI archive or pushes it to a
// registry. The stack runs it; you can also run it by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"spire-falco/image"
	"spire-falco/report"
)

const usage = `usage:
  mtls-image build -archive FILE [-digest sha256:...]
  mtls-image push -repository REPOSITORY [-digest sha256:...]

-digest is the expected digest; any other is an error.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "mtls-image:", report.Lines(err.Error()))
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	archive := flags.String("archive", "", "OCI archive to write")
	repository := flags.String("repository", "", "repository to push to")
	digest := flags.String("digest", "", "expected digest")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	build := args[0] == "build" && *archive != "" && *repository == ""
	push := args[0] == "push" && *repository != "" && *archive == ""
	if !build && !push {
		return errUsage
	}
	if push {
		if err := image.ValidateRepository(*repository); err != nil {
			return err
		}
	}
	img, err := image.Build(ctx, image.Spec{})
	if err != nil {
		return err
	}
	if *digest != "" && *digest != img.Digest() {
		return fmt.Errorf("this source builds %s, but the plan has %s: run up again with this source and Go release",
			img.Digest(), *digest)
	}
	if build {
		if err := img.WriteArchive(*archive); err != nil {
			return err
		}
		fmt.Println(img.LocalReference())
		return nil
	}
	reference, err := img.Push(ctx, *repository)
	if err != nil {
		return err
	}
	fmt.Println(reference)
	return nil
}
