// Package program is the Pulumi program: it loads the settings, checks and renders everything that it can without the
// engine, and registers the stack. main.go runs it under `pulumi`, cmd/stack-engine through the Automation API, tests
// on mocks.
package program

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/components"
	"spire-falco/config"
	"spire-falco/image"
	"spire-falco/rules"
)

// Image is the project's own built image.
type Image interface {
	// Digest returns the digest of its manifest, sha256:...
	Digest() string
	// LocalReference returns its name in a cluster that it was loaded into.
	LocalReference() string
	// WriteArchive writes it as an OCI archive.
	WriteArchive(path string) error
}

// Options of the program.
type Options struct {
	// Dir is the absolute path of the project's directory; empty means the engine's root directory.
	Dir string
	// Keys are the project's configuration keys that are set, for finding mistyped ones.
	Keys []string
	// BuildImage builds the project's own image; nil means from source in Dir.
	BuildImage func(ctx context.Context, dir string) (Image, error)
}

// New returns the Pulumi program.
func New(opts Options) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		dir := opts.Dir
		if dir == "" {
			dir = ctx.RootDirectory()
		}
		settings, err := loadSettings(ctx, opts.Keys)
		if err != nil {
			return err
		}
		for _, w := range settings.Warnings {
			if err := ctx.Log.Warn(w, nil); err != nil {
				return fmt.Errorf("log a warning: %w", err)
			}
		}
		args, err := prepare(ctx.Context(), settings, dir, opts)
		if err != nil {
			return err
		}
		args.Secrets = secrets(ctx, settings)
		args.HostKeys = hostKeys(ctx, settings)
		_, err = components.NewStack(ctx, "stack", args)
		return err
	}
}

// prepare does everything that needs no engine, so that errors are found before the first resource is registered.
func prepare(ctx context.Context, settings *config.Settings, dir string, opts Options) (*components.StackArgs, error) {
	rendered, err := rules.RenderSettings(settings, dir)
	if err != nil {
		return nil, err
	}
	if err := CheckHosts(settings, rendered); err != nil {
		return nil, err
	}
	args := &components.StackArgs{
		Settings: settings, Kubeconfig: settings.Cluster.KubeconfigPath(dir), Rules: rendered,
	}
	if !needsImage(settings) {
		return args, nil
	}
	build := opts.BuildImage
	if build == nil {
		build = buildFromSource
	}
	img, err := build(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("build the image of mtls-server and mtls-client: %w", err)
	}
	args.ImageLoad = &components.ImageArgs{Digest: img.Digest(), Dir: dir, Repository: settings.ImageRepository}
	if settings.ImageRepository != "" {
		args.Image = settings.ImageRepository + "@" + img.Digest()
		return args, nil
	}
	args.Image = img.LocalReference()
	args.ImageLoad.Reference = args.Image
	args.ImageLoad.Archive = filepath.Join(dir, ".cache", "image", "mtls-server.tar")
	if err := os.MkdirAll(filepath.Dir(args.ImageLoad.Archive), 0o750); err != nil {
		return nil, fmt.Errorf("create the directory of the image: %w", err)
	}
	if err := img.WriteArchive(args.ImageLoad.Archive); err != nil {
		return nil, fmt.Errorf("write the image of mtls-server and mtls-client: %w", err)
	}
	return args, nil
}

func buildFromSource(ctx context.Context, dir string) (Image, error) {
	return image.Build(ctx, image.Spec{Dir: dir})
}

func needsImage(settings *config.Settings) bool {
	return slices.ContainsFunc(settings.Workloads, func(w config.Workload) bool { return w.Image == "" })
}

// CheckHosts validates the hosts of the settings and the rules for them; it returns nil when Falco is off or there are
// none.
func CheckHosts(settings *config.Settings, rendered *rules.Rendered) error {
	args := components.HostArgs(settings, rendered, nil)
	if args == nil {
		return nil
	}
	if err := args.Validate(); err != nil {
		return fmt.Errorf("the hosts cannot be set up: %w", err)
	}
	return nil
}

// hostKeys returns the private keys of the hosts by name, as secrets.
func hostKeys(ctx *pulumi.Context, settings *config.Settings) map[string]pulumi.StringInput {
	keys := map[string]pulumi.StringInput{}
	for _, h := range settings.Hosts.List {
		if h.Local {
			continue
		}
		keys[h.Name] = secret(ctx, config.HostKeysKey).ApplyT(func(text string) (string, error) {
			var all map[string]string
			if err := json.Unmarshal([]byte(text), &all); err != nil {
				return "", fmt.Errorf("%s: must be a JSON object from host names to private keys", config.HostKeysKey)
			}
			if all[h.Name] == "" {
				return "", fmt.Errorf("%s: has no private key for the host %q", config.HostKeysKey, h.Name)
			}
			return all[h.Name], nil
		}).(pulumi.StringOutput)
	}
	return keys
}

// secrets reads the secret settings that are used; outputs derived from them are secret too.
func secrets(ctx *pulumi.Context, settings *config.Settings) components.FalcosidekickSecrets {
	s := components.FalcosidekickSecrets{Outputs: map[string]pulumi.StringInput{}}
	for _, o := range settings.Sidekick.Outputs {
		if o.Value == nil {
			s.Outputs[o.Setting] = secret(ctx, o.Setting)
		}
	}
	if settings.Sidekick.UI.Enabled {
		s.UIPassword = secret(ctx, config.UIPasswordKey)
	}
	return s
}
