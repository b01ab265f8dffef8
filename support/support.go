// Package support knows until when the projects that the stack builds on support the versions that it installs by
// default.
package support

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"spire-falco/charts"
	"spire-falco/config"
)

// Projects whose releases the stack pins.
const (
	Falco         = "falco"
	Falcosidekick = "falcosidekick"
	Kubernetes    = "kubernetes"
	SPIRE         = "spire"
)

// Notice is how long before the end of support a pin is reported.
const Notice = 30 * 24 * time.Hour

// dateLayout is how windows.tsv writes dates.
const dateLayout = "2006-01-02"

//go:embed windows.tsv
var windowsTSV string

// Window is the support of one minor release.
type Window struct {
	Project, Minor string
	// Ends is the first day without support; zero where the project has not named one.
	Ends time.Time
	// Source says where the date comes from, or what ends the support.
	Source string
}

// Windows lists what is known, by project and oldest first.
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

// Pin is one version that the stack installs unless the settings say otherwise.
type Pin struct {
	Project, Version string
	// Where the pin is made, for people.
	Where string
	// Kept says why the pin stays although its support has ended; empty for no such reason.
	Kept string
}

// Pins lists the versions of the defaults, and the newest Falco that can be chosen.
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
			Kept: "the source of 0.45.0, from which the data of its rule language would be made, could not be had",
		},
		{
			Project: Falcosidekick, Version: s.Sidekick.Chart.AppVersion, Where: "the default of falcosidekick.chartVersion",
			Kept: "no published chart brings a newer image, and newer images were never run with it",
		},
		{
			Project: Kubernetes, Version: strings.TrimPrefix(s.Cluster.Minikube.KubernetesVersion, "v"),
			Where: "the default of minikube.kubernetesVersion",
		},
		{Project: SPIRE, Version: s.SPIRE.Chart.AppVersion, Where: "the default of spire.chartVersion"},
	}, nil
}

// State is how a pin stands on a day.
type State int

// States of a pin.
const (
	// Supported by its project.
	Supported State = iota
	// Ending within Notice, or ended and kept for a reason: worth a warning.
	Ending
	// Ended and to be replaced: an error.
	Ended
)

// Judge says how the pin stands on that day, and why in one line. A pin whose minor release is in no window is an error.
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
			return Ending, fmt.Sprintf("%s: its support ends on %s", what, w.Ends.Format(dateLayout)), nil
		case p.Kept != "":
			return Ending, fmt.Sprintf("%s: its support ended on %s; it stays, since %s", what, w.Ends.Format(dateLayout), p.Kept), nil
		default:
			return Ended, fmt.Sprintf("%s: its support ended on %s (%s)", what, w.Ends.Format(dateLayout), w.Source), nil
		}
	}
	return Ended, "", fmt.Errorf("%s %s (%s) is in no line of windows.tsv", p.Project, p.Version, p.Where)
}
