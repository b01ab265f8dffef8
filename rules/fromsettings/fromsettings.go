// Package fromsettings makes the stack's rules from its settings: what Falco takes for normal comes from the same
// declarations as identities and network policies.
package fromsettings

import (
	"fmt"
	"path/filepath"
	"strings"

	"spire-falco/config"
	"spire-falco/internal/safefile"
	"spire-falco/rules"
)

// Render renders and checks the rules of the settings; nil when Falco is off. Relative paths in the settings are taken
// from dir.
func Render(settings *config.Settings, dir string) (*rules.Rendered, error) {
	if !settings.EnableFalco {
		return nil, nil //nolint:nilnil // no Falco, no rules: not an error
	}
	in, err := Inputs(settings, dir)
	if err != nil {
		return nil, err
	}
	rendered, err := rules.Render(in)
	if err != nil {
		return nil, fmt.Errorf("the rules cannot be deployed: %w", err)
	}
	return rendered, nil
}

// MaxRules is the most that rule files may have together, in bytes: they go into a ConfigMap, which holds 1 MiB.
const MaxRules = 1 << 20

const wantRules = "must be regular files of at most 1 MiB together, since they go into a ConfigMap"

// Inputs are what the settings tell the rules. Relative paths of the user's rule files are taken from dir.
func Inputs(s *config.Settings, dir string) (rules.Inputs, error) {
	in := rules.Inputs{
		FalcoVersion:           s.Falco.Chart.AppVersion,
		AgentSocketPath:        s.SPIRE.AgentSocketPath,
		SPIRENamespaces:        []string{s.SPIRE.Namespace},
		AllowedSocketProcesses: s.Falco.AllowedProcesses,
	}
	for _, w := range s.Workloads {
		in.Workloads = append(in.Workloads, rules.Workload{
			Name:            w.Name,
			Namespace:       w.Namespace,
			Label:           w.Name,
			Port:            w.Port,
			Image:           image(w, s),
			Executable:      w.Executable,
			Health:          w.Health,
			Children:        w.Children,
			Egress:          egress(w, s.Workloads),
			CertificateDirs: w.CertificateDirs,
			SocketPath:      w.SocketPath,
		})
	}
	total := 0
	for i, path := range s.Falco.ExtraRules {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		content, err := safefile.Read(path, MaxRules)
		if err != nil {
			return in, fmt.Errorf("falco.extraRules[%d] = %q: %w: %s", i, s.Falco.ExtraRules[i], err, wantRules)
		}
		if total += len(content); total > MaxRules {
			return in, fmt.Errorf("falco.extraRules: the files up to %q have %d bytes together: %s", s.Falco.ExtraRules[i], total, wantRules)
		}
		in.ExtraFiles = append(in.ExtraFiles, rules.File{Name: filepath.Base(path), Content: string(content)})
	}
	return in, nil
}

// image is the workload's image; the project's own has no registry when it is loaded into Minikube.
func image(w config.Workload, s *config.Settings) string {
	switch {
	case w.Image != "":
		return w.Image
	case s.ImageRepository != "":
		return s.ImageRepository
	default:
		return rules.DefaultImage
	}
}

// egress lists what the workload may connect to. Where a server's pods or the cluster's DNS are is not known beforehand,
// so Falco holds these to the port and the network policy holds them to the pods.
func egress(w config.Workload, all []config.Workload) []rules.Endpoint {
	var out []rules.Endpoint
	for _, server := range config.Servers(w, all) {
		out = append(out, rules.Endpoint{Port: server.Port, Protocol: "tcp"})
	}
	if len(out) > 0 {
		out = append(out, rules.Endpoint{Port: config.DNSPort, Protocol: "udp"}, rules.Endpoint{Port: config.DNSPort, Protocol: "tcp"})
	}
	for _, e := range w.Egress {
		out = append(out, rules.Endpoint{CIDR: e.CIDR, Port: e.Port, Protocol: e.Protocol})
	}
	return out
}

// Key is the setting that a field of rules.Inputs comes from, as people write it.
func Key(field string) string {
	switch field {
	case "AgentSocketPath":
		return "spire.agentSocketPath"
	case "SPIRENamespaces":
		return "spire.namespace"
	case "AllowedSocketProcesses":
		return "falco.allowedProcesses"
	case "FalcoVersion":
		return "falco.chartVersion"
	case "ExtraFiles":
		return "falco.extraRules"
	case "Workloads.Label":
		return "workloads[].name"
	case "Workloads.Egress":
		return "workloads[].egress and workloads[].peers"
	}
	if name, ok := strings.CutPrefix(field, "Workloads."); ok {
		return "workloads[]." + strings.ToLower(name[:1]) + name[1:]
	}
	return field
}
