package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"spire-falco/charts"
	"spire-falco/charts/contract"
	"spire-falco/components"
	"spire-falco/config"
	"spire-falco/engine/helm"
	"spire-falco/values"
)

// renderer makes the objects of a release: contract.Render outside tests.
type renderer func(ctx context.Context, r contract.Release) ([]map[string]any, error)

// contractTimeout is how long a chart may take to be fetched and rendered.
const contractTimeout = 3 * time.Minute

// render renders with the pinned Helm CLI.
func (t *target) render(log io.Writer) renderer {
	return func(ctx context.Context, r contract.Release) ([]map[string]any, error) {
		path, err := helm.Build(ctx, t.Dir, log)
		if err != nil { // without Helm nothing is known of the chart either
			return nil, fmt.Errorf("%w: %w", contract.ErrNoChart, err)
		}
		ctx, cancel := context.WithTimeout(ctx, contractTimeout)
		defer cancel()
		return contract.Render(ctx, path, r)
	}
}

// checkContract holds a chart of Falco that this project never ran to the contract, and returns a line that says how
// it was checked. It is empty when there is nothing to check. The error is contract.ErrNoChart when the chart could not
// be had.
func checkContract(ctx context.Context, p *plan, render renderer) (string, error) {
	falco := p.settings.Falco
	if !p.settings.EnableFalco || !falco.Chart.ByContract || p.rules == nil {
		return "", nil
	}
	in := components.FalcoInputs(p.rules, components.AlertURL)
	objects, err := render(ctx, contract.Release{
		Chart:     falco.Chart.Chart,
		Name:      config.FalcoRelease,
		Namespace: falco.Namespace,
		Values:    values.Falco(falco, in),
	})
	if err != nil {
		return "", fmt.Errorf("check chart falco %s: %w", falco.Chart.Version, err)
	}
	if err := contract.Check(objects, values.FalcoContract(falco, in)); err != nil {
		return "", fmt.Errorf("chart falco %s breaks what this stack promises:\n%w", falco.Chart.Version, err)
	}
	return fmt.Sprintf("chart falco %s was checked by contract and never run", falco.Chart.Version), nil
}

// previewContract is checkContract for a preview, which goes without the check when the chart cannot be had, and says
// so.
func previewContract(ctx context.Context, p *plan, render renderer) (string, error) {
	line, err := checkContract(ctx, p, render)
	if errors.Is(err, contract.ErrNoChart) {
		return fmt.Sprintf("chart falco %s was never run and NOT checked by contract, since %v", p.settings.Falco.Chart.Version, err), nil
	}
	return line, err
}

// warnings are those of the settings, but for the one that the line of checkContract says better.
func (p *plan) warnings() []string {
	var all []string
	for _, w := range p.settings.Warnings {
		if !p.settings.Falco.Chart.ByContract || w != p.settings.Falco.Chart.Warning {
			all = append(all, w)
		}
	}
	return all
}

// installer reports which charts a stack has installed: engine.Engine outside tests.
type installer interface {
	Releases(ctx context.Context) (map[string]string, error)
}

// checkUpgrade refuses what the charts that are installed cannot be upgraded to.
func checkUpgrade(ctx context.Context, s *config.Settings, i installer) error {
	if !s.SPIRE.Install {
		return nil
	}
	installed, err := i.Releases(ctx)
	if err != nil {
		return err
	}
	if from := installed[charts.SPIREName]; from != "" {
		return charts.CheckSPIREUpgrade(from, s.SPIRE.Chart.Version)
	}
	return nil
}
