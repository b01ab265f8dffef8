package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"spire-falco/internal/safefile"
)

// WriteArchive writes the image as an OCI archive with the name
// [Image.LocalReference]. It also contains the manifest.json that Docker needs,
// so that "minikube image load", "docker load", "ctr images import" and "podman
// load" accept the same file. The file is written completely or not at all, and
// not touched if it already has the same content.
func (i *Image) WriteArchive(path string) error {
	archive, err := i.archive()
	if err != nil {
		return fmt.Errorf("create the image archive: %w", err)
	}
	if old, err := safefile.Read(path, int64(len(archive))); err == nil && bytes.Equal(old, archive) {
		return nil
	}
	// Other users must be able to load it.
	if err := safefile.Write(path, archive, 0o644); err != nil {
		return fmt.Errorf("write the image archive: %w", err)
	}
	return nil
}

// dockerManifest is an entry of manifest.json.
type dockerManifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

func (i *Image) archive() ([]byte, error) {
	manifest, err := i.image.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	rawManifest, err := i.image.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	rawConfig, err := i.image.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config, err := i.image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}

	tag := i.digest.Algorithm + "-" + i.digest.Hex
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    i.digest,
			Size:      int64(len(rawManifest)),
			Platform:  &v1.Platform{OS: config.OS, Architecture: config.Architecture},
			Annotations: map[string]string{
				"io.containerd.image.name":          i.LocalReference(), // for containerd
				"org.opencontainers.image.ref.name": tag,                // for everything else
			},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("create the index: %w", err)
	}
	docker := dockerManifest{Config: blobPath(manifest.Config.Digest), RepoTags: []string{i.LocalReference()}}
	for _, layer := range manifest.Layers {
		docker.Layers = append(docker.Layers, blobPath(layer.Digest))
	}
	dockerIndex, err := json.Marshal([]dockerManifest{docker})
	if err != nil {
		return nil, fmt.Errorf("create manifest.json: %w", err)
	}

	var w archiveWriter
	w.tar = tar.NewWriter(&w.buffer)
	w.add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	w.add("index.json", index)
	w.add("manifest.json", dockerIndex)
	w.add(blobPath(i.digest), rawManifest)
	w.add(blobPath(manifest.Config.Digest), rawConfig)
	for _, descriptor := range manifest.Layers {
		layer, err := i.image.LayerByDigest(descriptor.Digest)
		if err != nil {
			return nil, fmt.Errorf("find layer %s: %w", descriptor.Digest, err)
		}
		blob, err := layer.Compressed()
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", descriptor.Digest, err)
		}
		var content bytes.Buffer
		_, err = content.ReadFrom(blob)
		if err = errors.Join(err, blob.Close()); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", descriptor.Digest, err)
		}
		w.add(blobPath(descriptor.Digest), content.Bytes())
	}
	if err := errors.Join(w.err, w.tar.Close()); err != nil {
		return nil, err
	}
	return w.buffer.Bytes(), nil
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// archiveWriter writes a tar archive into memory and keeps the first error.
type archiveWriter struct {
	buffer bytes.Buffer
	tar    *tar.Writer
	err    error
}

func (w *archiveWriter) add(name string, content []byte) {
	if w.err != nil {
		return
	}
	w.err = w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o444,
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if w.err == nil {
		_, w.err = w.tar.Write(content)
	}
}
