package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"spire-falco/image"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = ".."

// built is the image of this source, built once for all tests.
var built = sync.OnceValues(func() (*image.Image, error) {
	return image.Build(context.Background(), image.Spec{Dir: root, Platform: "linux/amd64"})
})

func build(t *testing.T) *image.Image {
	t.Helper()
	img, err := built()
	require.NoError(t, err)
	return img
}

func TestBuild(t *testing.T) {
	t.Parallel()

	t.Run("the same source gives the same bytes in any directory", func(t *testing.T) {
		t.Parallel()
		elsewhere := filepath.Join(t.TempDir(), "copy", "of", "the", "source")
		for _, dir := range []string{"mtls", "cmd/mtls-server", "cmd/mtls-client"} {
			require.NoError(t, os.CopyFS(filepath.Join(elsewhere, dir), os.DirFS(filepath.Join(root, dir))))
		}
		for _, file := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(root, file))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(elsewhere, file), content, 0o600))
		}
		again, err := image.Build(t.Context(), image.Spec{Dir: elsewhere, Platform: "linux/amd64"})
		require.NoError(t, err)
		assert.Equal(t, build(t).Digest(), again.Digest())
		one, other := filepath.Join(t.TempDir(), "one.tar"), filepath.Join(t.TempDir(), "other.tar")
		require.NoError(t, build(t).WriteArchive(one))
		require.NoError(t, again.WriteArchive(other))
		assert.Equal(t, read(t, one), read(t, other))
	})

	t.Run("other source gives another digest", func(t *testing.T) {
		t.Parallel()
		module := t.TempDir()
		write := func(path, content string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(module, path)), 0o750))
			require.NoError(t, os.WriteFile(filepath.Join(module, path), []byte(content), 0o600))
		}
		write("go.mod", "module m\n\ngo 1.26\n")
		write("cmd/mtls-server/main.go", "package main\n\nfunc main() { println(1) }\n")
		write("cmd/mtls-client/main.go", "package main\n\nfunc main() {}\n")
		before, err := image.Build(t.Context(), image.Spec{Dir: module})
		require.NoError(t, err)
		write("cmd/mtls-server/main.go", "package main\n\nfunc main() { println(2) }\n")
		after, err := image.Build(t.Context(), image.Spec{Dir: module})
		require.NoError(t, err)
		assert.NotEqual(t, before.Digest(), after.Digest())
		assert.NotEqual(t, before.LocalReference(), after.LocalReference())
	})

	t.Run("source that does not compile is an error with the compiler's message", func(t *testing.T) {
		t.Parallel()
		_, err := image.Build(t.Context(), image.Spec{Dir: t.TempDir()})
		require.ErrorContains(t, err, "compile mtls-server and mtls-client for linux/")
		assert.ErrorContains(t, err, "go.mod")
	})

	t.Run("an unknown platform is an error that lists the known ones", func(t *testing.T) {
		t.Parallel()
		_, err := image.Build(t.Context(), image.Spec{Dir: root, Platform: "windows/amd64"})
		require.EqualError(t, err, `platform is "windows/amd64": must be one of linux/amd64, linux/arm64`)
	})
}

func TestImageContainsOnlyTwoStaticBinaries(t *testing.T) {
	t.Parallel()
	img := load(t)
	files := map[string][]byte{}
	content := mutate.Extract(img)
	defer content.Close() //nolint:errcheck // read to its end
	archive := tar.NewReader(content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.Equal(t, int64(0o555), header.Mode, header.Name)
		assert.Zero(t, header.Uid, header.Name)
		assert.True(t, header.ModTime.Equal(time.Unix(0, 0)), header.Name)
		files[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
	require.Len(t, files, 2)
	for _, path := range []string{"mtls-server", "mtls-client"} {
		require.Contains(t, files, path)
		binary, err := elf.NewFile(bytes.NewReader(files[path]))
		require.NoError(t, err)
		assert.Equal(t, elf.EM_X86_64, binary.Machine)
		libraries, err := binary.ImportedLibraries()
		require.NoError(t, err)
		assert.Empty(t, libraries)
		assert.Nil(t, binary.Section(".interp"), "a static binary needs no loader")
		working, err := os.Getwd()
		require.NoError(t, err)
		assert.NotContains(t, string(files[path]), filepath.Dir(working), "paths of this machine")
	}
}

func TestImageRunsTheServerAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	config, err := load(t).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "65532:65532", config.Config.User)
	assert.Equal(t, []string{"/mtls-server"}, config.Config.Entrypoint)
	assert.Empty(t, config.Config.Cmd)
	assert.Empty(t, config.Config.Env)
	assert.Equal(t, map[string]struct{}{"8443/tcp": {}}, config.Config.ExposedPorts)
	assert.Equal(t, "linux", config.OS)
	assert.Equal(t, "amd64", config.Architecture)
	assert.True(t, config.Created.IsZero(), "a time of its own would change the digest")
}

func TestWriteArchive(t *testing.T) {
	t.Parallel()
	img := build(t)
	path := filepath.Join(t.TempDir(), "mtls.tar")
	require.NoError(t, img.WriteArchive(path))
	files := untar(t, path)

	t.Run("is an OCI layout whose index names the image by digest", func(t *testing.T) {
		t.Parallel()
		assert.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(files["oci-layout"]))
		var index v1.IndexManifest
		require.NoError(t, json.Unmarshal(files["index.json"], &index))
		require.Len(t, index.Manifests, 1)
		assert.Equal(t, types.OCIManifestSchema1, index.Manifests[0].MediaType)
		assert.Equal(t, img.Digest(), index.Manifests[0].Digest.String())
		assert.Equal(t, img.LocalReference(), index.Manifests[0].Annotations["io.containerd.image.name"])
		assert.Equal(t, img.Digest(), "sha256:"+strings.TrimPrefix(index.Manifests[0].Annotations["org.opencontainers.image.ref.name"], "sha256-"))
		for name, content := range files {
			if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
				hash, _, err := v1.SHA256(bytes.NewReader(content))
				require.NoError(t, err)
				assert.Equal(t, hex, hash.Hex)
			}
		}
	})

	t.Run("has the format of docker save", func(t *testing.T) {
		t.Parallel()
		tag, err := name.NewTag(img.LocalReference())
		require.NoError(t, err)
		loaded, err := tarball.ImageFromPath(path, &tag)
		require.NoError(t, err)
		require.NoError(t, validate.Image(loaded))
	})

	t.Run("does not touch a file with the same content", func(t *testing.T) {
		t.Parallel()
		same := filepath.Join(t.TempDir(), "same.tar")
		require.NoError(t, img.WriteArchive(same))
		long := time.Now().Add(-time.Hour).Truncate(time.Second)
		require.NoError(t, os.Chtimes(same, long, long))
		require.NoError(t, img.WriteArchive(same))
		info, err := os.Stat(same)
		require.NoError(t, err)
		assert.True(t, info.ModTime().Equal(long))
	})

	t.Run("an impossible path is an error that names it and leaves nothing behind", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "absent", "mtls.tar")
		require.ErrorContains(t, img.WriteArchive(path), path)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	img := build(t)

	t.Run("returns the image's reference by digest in the registry", func(t *testing.T) {
		t.Parallel()
		reference, err := img.Push(t.Context(), host+"/team/mtls-server")
		require.NoError(t, err)
		assert.Equal(t, host+"/team/mtls-server@"+img.Digest(), reference)
		parsed, err := name.NewDigest(reference)
		require.NoError(t, err)
		pulled, err := remote.Image(parsed)
		require.NoError(t, err)
		require.NoError(t, validate.Image(pulled))
	})

	t.Run("an unreachable registry is an error that names the repository", func(t *testing.T) {
		t.Parallel()
		gone := httptest.NewServer(registry.New())
		gone.Close()
		repository := strings.TrimPrefix(gone.URL, "http://") + "/team/mtls-server"
		_, err := img.Push(t.Context(), repository)
		require.ErrorContains(t, err, "push the image to "+repository)
	})
}

func TestValidateRepository(t *testing.T) {
	t.Parallel()
	require.NoError(t, image.ValidateRepository("registry.example.org/team/mtls-server"))
	require.NoError(t, image.ValidateRepository("localhost:5000/mtls-server"))
	for _, wrong := range []string{"", "mtls-server", "registry.example.org/team/mtls:1", "registry.example.org/Team/mtls", "https://registry.example.org/mtls"} {
		require.ErrorContains(t, image.ValidateRepository(wrong), `repository is "`+wrong+`": must be`)
	}
	err := image.ValidateRepository("https://user:hunter2@registry.example.org/mtls")
	require.ErrorContains(t, err, "must be")
	assert.NotContains(t, err.Error(), "hunter2")
}

// load reads the image back from its archive.
func load(t *testing.T) v1.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mtls.tar")
	require.NoError(t, build(t).WriteArchive(path))
	loaded, err := tarball.ImageFromPath(path, nil)
	require.NoError(t, err)
	return loaded
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

func untar(t *testing.T, path string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	archive := tar.NewReader(bytes.NewReader(read(t, path)))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		files[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}
