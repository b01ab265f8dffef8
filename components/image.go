package components

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// ImageArgs describes how the project's own image gets into the cluster.
type ImageArgs struct {
	// Digest is the image's digest: the image is loaded or pushed again only when it changes.
	Digest string
	// Reference is the image's name on the node after it was loaded into Minikube.
	Reference string
	// Archive is the absolute path of the OCI archive to load into Minikube.
	Archive string
	// Repository is the repository to push to; empty to load into Minikube.
	Repository string
	// Dir is the project's directory, in which the image can be rebuilt.
	Dir string
}

// loadImage registers the command that loads the image into Minikube or pushes it to a registry.
func loadImage(
	ctx *pulumi.Context, name string, cluster *Cluster, args *ImageArgs, opts ...pulumi.ResourceOption,
) (pulumi.Resource, error) {
	env := map[string]string{"DIGEST": args.Digest}
	file := "image-push.sh"
	if args.Repository == "" {
		if cluster.minikube == nil {
			return nil, errors.New("an image can only be loaded into Minikube; an existing cluster needs image.repository")
		}
		file = "image-load.sh"
		env["ARCHIVE"], env["REFERENCE"] = args.Archive, args.Reference
	} else {
		env["REPOSITORY"] = args.Repository
	}
	env[scriptVariable] = script(file)
	cmdArgs := &local.CommandArgs{
		Create:      pulumi.String(runScript),
		Dir:         pulumi.String(args.Dir),
		Environment: environment(env),
		Logging:     logNothing,
	}
	if cluster.minikube != nil {
		cmdArgs.Environment.(pulumi.StringMap)["PROFILE"] = cluster.Context
		opts = with(opts, cluster.deletedWith()...)
		opts = with(opts, pulumi.DependsOn([]pulumi.Resource{cluster.minikube}))
	}
	cmd, err := local.NewCommand(ctx, name, cmdArgs, opts...)
	if err != nil {
		return nil, fmt.Errorf("register the command that delivers the image: %w", err)
	}
	return cmd, nil
}
