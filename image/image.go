// Package image builds the OCI image of mtls-server and mtls-client without a
// container engine: from scratch, with two static binaries, not running as
// root, and reproducible: the same source and Go release give the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"spire-falco/internal/redact"
)

// The contents of the image.
const (
	// Repository is the image's name where no registry is involved.
	Repository = "docker.io/library/mtls-server"
	// ServerPath is the path of mtls-server in the image, its entry point.
	ServerPath = "/mtls-server"
	// clientPath is the path of mtls-client in the image.
	clientPath = "/mtls-client"
	// userID is the user and the group ID that the programs run as.
	userID = 65532
	// port is the server's only TCP port.
	port = 8443
)

// Platforms returns the platforms that the image can be built for.
func Platforms() []string { return []string{"linux/amd64", "linux/arm64"} }

// programs are the packages compiled into the image, each in its own layer, so
// that a change in one does not change the other's.
var programs = []struct{ pkg, path string }{
	{"./cmd/mtls-server", ServerPath},
	{"./cmd/mtls-client", clientPath},
}

// Spec says what to build.
type Spec struct {
	// Dir is the root of this module's source; empty means the current
	// directory.
	Dir string
	// Platform is one of [Platforms]; empty means linux on this machine's
	// architecture.
	Platform string
}

// Image is a built image, held in memory.
type Image struct {
	image  v1.Image
	digest v1.Hash
	size   int64
}

// Build compiles the programs and composes the image. It needs the go command;
// its build cache makes a second build fast.
func Build(ctx context.Context, spec Spec) (*Image, error) {
	platform, err := parsePlatform(spec.Platform)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "mtls-image-")
	if err != nil {
		return nil, fmt.Errorf("create a directory to compile into: %w", err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // leftovers in the temporary directory do no harm

	if err := compile(ctx, spec.Dir, platform, scratch); err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, 0, len(programs))
	for _, program := range programs {
		binary, err := os.ReadFile(filepath.Join(scratch, filepath.Base(program.path)))
		if err != nil {
			return nil, fmt.Errorf("read the compiled program: %w", err)
		}
		layer, err := binaryLayer(program.path, binary)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return compose(platform, layers)
}

func parsePlatform(platform string) (v1.Platform, error) {
	if platform == "" {
		platform = "linux/" + runtime.GOARCH
	}
	if !slices.Contains(Platforms(), platform) {
		return v1.Platform{}, fmt.Errorf("platform is %q: must be one of %s", platform, strings.Join(Platforms(), ", "))
	}
	system, architecture, _ := strings.Cut(platform, "/")
	return v1.Platform{OS: system, Architecture: architecture}, nil
}

// compile builds the programs into out. The result must not depend on this
// machine: no paths, no version control state, no C library, no settings of
// the user's go command.
func compile(ctx context.Context, dir string, platform v1.Platform, out string) error {
	args := []string{
		"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out + string(filepath.Separator),
	}
	for _, program := range programs {
		args = append(args, program.pkg)
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // fixed arguments and a directory of our own
	cmd.Dir = dir
	// On an interrupt the go command ends its compilers and cleans up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture,
		"GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GODEBUG=", "GOFIPS140=off", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile mtls-server and mtls-client for %s in %s: %w\n%s",
			platform.String(), filepath.Join(".", dir), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// binaryLayer returns a layer with one executable file. It is owned by root, so
// that the user it runs as cannot change it, and has a fixed time.
func binaryLayer(path string, binary []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	zip, err := gzip.NewWriterLevel(&archive, gzip.DefaultCompression)
	if err != nil {
		return nil, fmt.Errorf("compress %s: %w", path, err)
	}
	files := tar.NewWriter(zip)
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Size: int64(len(binary)), Mode: 0o555,
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	}
	if err := files.WriteHeader(header); err != nil {
		return nil, fmt.Errorf("archive %s: %w", path, err)
	}
	if _, err := files.Write(binary); err != nil {
		return nil, fmt.Errorf("archive %s: %w", path, err)
	}
	if err := errors.Join(files.Close(), zip.Close()); err != nil {
		return nil, fmt.Errorf("archive %s: %w", path, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("create the layer of %s: %w", path, err)
	}
	return layer, nil
}

func compose(platform v1.Platform, layers []v1.Layer) (*Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config, err := base.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("create the image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Config = v1.Config{
		Entrypoint:   []string{ServerPath},
		User:         fmt.Sprintf("%d:%d", userID, userID),
		WorkingDir:   "/",
		ExposedPorts: map[string]struct{}{fmt.Sprintf("%d/tcp", port): {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "mtls-server",
			"org.opencontainers.image.description": "mTLS server and client with identities from SPIRE",
			"org.opencontainers.image.licenses":    "Apache-2.0",
		},
	}
	built, err := mutate.ConfigFile(base, config)
	if err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	additions := make([]mutate.Addendum, 0, len(layers))
	for i, layer := range layers {
		additions = append(additions, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{CreatedBy: "static binary " + programs[i].path},
		})
	}
	if built, err = mutate.Append(built, additions...); err != nil {
		return nil, fmt.Errorf("add the programs to the image: %w", err)
	}
	img := &Image{image: built}
	if img.digest, err = built.Digest(); err != nil {
		return nil, fmt.Errorf("compute the image's digest: %w", err)
	}
	manifest, err := built.Manifest()
	if err != nil {
		return nil, fmt.Errorf("create the image's manifest: %w", err)
	}
	img.size = manifest.Config.Size
	for _, layer := range manifest.Layers {
		img.size += layer.Size
	}
	return img, nil
}

// Digest returns the digest of the manifest, sha256:<hex>.
func (i *Image) Digest() string { return i.digest.String() }

// Size returns the size of the compressed layers and the configuration, in
// bytes.
func (i *Image) Size() int64 { return i.size }

// LocalReference returns the image's name after its archive has been loaded.
// The tag is the digest, so that no other image has the same name: Docker
// cannot run a loaded image by digest.
func (i *Image) LocalReference() string {
	return Repository + ":" + i.digest.Algorithm + "-" + i.digest.Hex
}

// ValidateRepository returns an error unless repository names a registry and a
// repository without tag and digest, such as
// registry.example.org/team/mtls-server.
func ValidateRepository(repository string) error {
	_, err := parseRepository(repository)
	return err
}

func parseRepository(repository string) (name.Repository, error) {
	parsed, err := name.NewRepository(repository, name.StrictValidation)
	if err == nil && strings.Contains(repository, "://") { // else parsed as a registry named https:
		err = errors.New("it has a scheme")
	}
	if err != nil {
		// The library's error repeats the text, which may contain a password.
		return parsed, fmt.Errorf("repository is %q: must be registry/path without user, tag and digest, "+
			"such as registry.example.org/team/mtls-server: %s", redact.String(repository), redact.String(err.Error()))
	}
	return parsed, nil
}

// Push uploads the image to a repository such as registry.example.org/team/app
// with the credentials of the user's Docker configuration, and returns its
// reference by digest. Layers that the registry already has are not sent.
func (i *Image) Push(ctx context.Context, repository string) (string, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return "", err
	}
	reference := repo.Digest(i.Digest())
	auth := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	if err := remote.Write(reference, i.image, remote.WithContext(ctx), auth); err != nil {
		return "", fmt.Errorf("push the image to %s: %w", repository, err)
	}
	return reference.String(), nil
}
