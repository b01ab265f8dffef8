package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/charts"
)

// ErrNoChart says that the chart itself could not be had, so that nothing is known of what it makes.
var ErrNoChart = errors.New("the chart could not be had")

// Release is what Helm is asked to render.
type Release struct {
	Chart           charts.Chart
	Name, Namespace string
	Values          map[string]any
}

// Render gets the chart from its repository with the Helm CLI at that path, and returns the objects that Helm would
// install with these values. It reads and changes nothing of the user's Helm. The error is ErrNoChart when the chart
// could not be had.
func Render(ctx context.Context, helm string, r Release) ([]map[string]any, error) {
	dir, err := os.MkdirTemp("", "spire-falco-chart-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the chart: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, helm, args...) //nolint:gosec // the pinned Helm, checked settings
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		}
		return out, nil
	}
	pull := []string{"pull", r.Chart.Name, "--repo", r.Chart.Repository}
	if strings.HasPrefix(r.Chart.Repository, "oci://") {
		pull = []string{"pull", strings.TrimSuffix(r.Chart.Repository, "/") + "/" + r.Chart.Name}
	}
	if _, err := run(append(pull, "--version", r.Chart.Version, "--destination", dir)...); err != nil {
		return nil, fmt.Errorf("%w: %s %s from %s: %w", ErrNoChart, r.Chart.Name, r.Chart.Version, r.Chart.Repository, err)
	}
	content, err := yaml.Marshal(r.Values)
	if err != nil {
		return nil, fmt.Errorf("write the values of %s: %w", r.Chart.Name, err)
	}
	values := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(values, content, 0o600); err != nil {
		return nil, fmt.Errorf("write the values of %s: %w", r.Chart.Name, err)
	}
	archive := filepath.Join(dir, r.Chart.Name+"-"+r.Chart.Version+".tgz")
	out, err := run("template", r.Name, archive, "--namespace", r.Namespace, "--values", values, "--skip-tests",
		"--api-versions", "monitoring.coreos.com/v1")
	if err != nil {
		return nil, fmt.Errorf("render chart %s %s: %w", r.Chart.Name, r.Chart.Version, err)
	}
	return parse(out)
}

// parse reads the documents of a YAML stream.
func parse(stream []byte) ([]map[string]any, error) {
	var objects []map[string]any
	for decoder := yaml.NewDecoder(bytes.NewReader(stream)); ; {
		var o map[string]any
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what the chart makes: %w", err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
}
