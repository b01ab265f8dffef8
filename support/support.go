// Package support checks that the versions that the stack installs by default are still supported upstream.
package support

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"spire-falco/charts"
	"spire-falco/config"
)

// The projects whose releases the stack pins.
const (
	Falco         = "falco"
	Falcosidekick = "falcosidekick"
	Kubernetes    = "kubernetes"
	SPIRE         = "spire"
)

// Notice is how long before the end of support a pin is reported.
const Notice = 30 * 24 * time.Hour

// dateLayout is the date format of windows.tsv.
const dateLayout = "2006-01-02"

//go:embed windows.tsv
var windowsTSV string

// Window is the support period of one minor release.
type Window struct {
	Project, Minor string
	// Ends is the first day without support; zero if the project has not announced one.
	Ends time.Time
	// Source says where the date comes from, or what will end the support.
	Source string
}

// Windows returns all known support periods, by project and oldest first.
func Windows() ([]Window, error) {
	var all []Window
	for line := range strings.Lines(windowsTSV) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("windows.tsv: %q must have 4 fields", line)
		}
		w := Window{Project: fields[0], Minor: fields[1], Source: fields[3]}
		if fields[2] != "-" {
			ends, err := time.Parse(dateLayout, fields[2])
			if err != nil {
				return nil, fmt.Errorf("windows.tsv: %q: %w", line, err)
			}
			w.Ends = ends
		}
		all = append(all, w)
	}
	return all, nil
}

// Pin is one version that the stack installs by default.
type Pin struct {
	Project, Version string
	// Where says which default or table has the pin.
	Where string
	// Kept says why the pin is kept although its support has ended; empty for no reason.
	Kept string
}

// Pins returns the default versions, and the newest Falco that can be chosen.
func Pins() ([]Pin, error) {
	s, err := config.Load(config.Source{Stack: "defaults"})
	if err != nil {
		return nil, fmt.Errorf("load the default settings: %w", err)
	}
	return []Pin{
		{
			Project: Falco, Version: s.Falco.Chart.AppVersion, Where: "the default of falco.chartVersion",
			Kept: "it is the version that users ask for; newer charts can be set",
		},
		{
			Project: Falco, Version: charts.NewestFalco().AppVersion, Where: "the newest chart of falco",
			Kept: "the source of 0.45.0, from which the data of its rule language is generated, was not available",
		},
		{
			Project: Falcosidekick, Version: s.Sidekick.Chart.AppVersion, Where: "the default of falcosidekick.chartVersion",
			Kept: "no published chart has a newer image, and the chart was never tested with a newer image",
		},
		{
			Project: Kubernetes, Version: strings.TrimPrefix(s.Cluster.Minikube.KubernetesVersion, "v"),
			Where: "the default of minikube.kubernetesVersion",
		},
		{Project: SPIRE, Version: s.SPIRE.Chart.AppVersion, Where: "the default of spire.chartVersion"},
	}, nil
}

// State is the support state of a pin on a given day.
type State int

// The states of a pin.
const (
	// Supported means that the project supports the version.
	Supported State = iota
	// Ending means that support ends within Notice, or has ended but the pin is kept for a reason: a warning.
	Ending
	// Ended means that support has ended and the pin must be replaced: an error.
	Ended
)

// Judge returns the state of the pin on a day, and a line that explains it. A pin whose minor release has no window is
// an error.
func Judge(p Pin, windows []Window, today time.Time) (State, string, error) {
	for _, w := range windows {
		if w.Project != p.Project || !strings.HasPrefix(p.Version+".", w.Minor+".") {
			continue
		}
		what := fmt.Sprintf("%s %s, %s", p.Project, p.Version, p.Where)
		switch {
		case w.Ends.IsZero():
			return Supported, fmt.Sprintf("%s: supported; %s", what, w.Source), nil
		case today.Before(w.Ends.Add(-Notice)):
			return Supported, fmt.Sprintf("%s: supported until %s", what, w.Ends.Format(dateLayout)), nil
		case today.Before(w.Ends):
			return Ending, fmt.Sprintf("%s: support ends on %s", what, w.Ends.Format(dateLayout)), nil
		case p.Kept != "":
			return Ending, fmt.Sprintf("%s: support ended on %s; kept because %s", what, w.Ends.Format(dateLayout), p.Kept), nil
		default:
			return Ended, fmt.Sprintf("%s: support ended on %s (%s)", what, w.Ends.Format(dateLayout), w.Source), nil
		}
	}
	return Ended, "", fmt.Errorf("%s %s (%s) is not in windows.tsv", p.Project, p.Version, p.Where)
}
