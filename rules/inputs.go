package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"spire-falco/config"
	"spire-falco/internal/safefile"
)

// Inputs are what the generated file of overrides is made from. Every value has a form that config allows, so that none
// becomes syntax of a condition or of YAML: take them from [FromSettings].
type Inputs struct {
	// FalcoVersion is the version of Falco that will load the files, such as 0.40.0: one that falco.Lookup knows.
	FalcoVersion string
	// AgentSocketPath is the path on the node at which the SPIRE agent listens, such as /tmp/spire-agent/public/api.sock.
	// Its last two directories are those that no one else may change.
	AgentSocketPath string
	// SPIRENamespaces are the namespaces of SPIRE's own pods, at least one.
	SPIRENamespaces []string
	// AllowedSocketProcesses are absolute paths of further executables that may use the agent's socket, on the node or in
	// any pod, as long as they do not come from a container's writable layer.
	AllowedSocketProcesses []string
	// Image of workloads that declare none; empty means DefaultImage.
	Image string
	// Workloads are the pods under watch; without any, the rules about workloads match nothing.
	Workloads []config.Workload
	// ExtraFiles are the user's own rule files, checked with ours and loaded after the stock rules.
	ExtraFiles []File
}

// DefaultImage is the name that the container runtime of Minikube gives to the project's own image.
const DefaultImage = "docker.io/library/mtls-server"

// MaxRules is how large a user's rule files may be together, in bytes: they go into a ConfigMap, which holds 1 MiB.
const MaxRules = 1 << 20

const wantRules = "must be regular files of at most 1 MiB together, since they go into a ConfigMap"

// RenderSettings renders and checks the rules of the settings; nil when Falco is off. Relative paths in the settings are
// taken from dir.
func RenderSettings(settings *config.Settings, dir string) (*Rendered, error) {
	if !settings.EnableFalco {
		return nil, nil //nolint:nilnil // no Falco, no rules: not an error
	}
	in, err := FromSettings(settings, dir)
	if err != nil {
		return nil, err
	}
	rendered, err := Render(in)
	if err != nil {
		return nil, fmt.Errorf("the rules cannot be deployed: %w", err)
	}
	return rendered, nil
}

// FromSettings returns what the settings tell the rules, so that what Falco takes for normal comes from the same
// declarations as identities and network policies. It reads the user's rule files; relative paths are taken from dir.
func FromSettings(s *config.Settings, dir string) (Inputs, error) {
	in := Inputs{
		FalcoVersion:           s.Falco.Chart.AppVersion,
		AgentSocketPath:        s.SPIRE.AgentSocketPath,
		SPIRENamespaces:        []string{s.SPIRE.Namespace},
		AllowedSocketProcesses: s.Falco.AllowedProcesses,
		Image:                  s.ImageRepository,
		Workloads:              s.Workloads,
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
			return in, fmt.Errorf("falco.extraRules: the files up to %q have %d bytes together: %s",
				s.Falco.ExtraRules[i], total, wantRules)
		}
		in.ExtraFiles = append(in.ExtraFiles, File{Name: filepath.Base(path), Content: string(content)})
	}
	return in, nil
}

// Key is the setting that a field of Inputs comes from, as people write it.
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
	case "Image":
		return "image.repository"
	case "ExtraFiles":
		return "falco.extraRules"
	}
	if name, ok := strings.CutPrefix(field, "Workloads."); ok {
		return "workloads[]." + strings.ToLower(name[:1]) + name[1:]
	}
	return field
}

// workload is a declared workload, with what the rules derive from all declarations.
type workload struct {
	config.Workload
	// repository of the image as the container runtime gives it, and digest if the image has one.
	repository, digest string
	// destinations that it may connect to; without any, nowhere (loopback aside).
	destinations []destination
}

// destination is where a workload may connect to.
type destination struct {
	prefix   netip.Prefix // not valid for any address
	port     int
	protocol string // tcp or udp
}

// workloads derives what the rules ask for.
func (in Inputs) workloads() ([]workload, error) {
	out := make([]workload, len(in.Workloads))
	for i, w := range in.Workloads {
		destinations, err := destinationsOf(w, in.Workloads)
		if err != nil {
			return nil, fmt.Errorf("workloads[%d].egress: %w", i, err)
		}
		repository, digest := splitImage(cmp.Or(w.Image, in.Image, DefaultImage))
		out[i] = workload{Workload: w, repository: repository, digest: digest, destinations: destinations}
	}
	return out, nil
}

// destinationsOf lists what w may connect to. Where a server's pods or the cluster's DNS are is not known beforehand, so
// Falco holds these to the port and the network policy holds them to the pods.
func destinationsOf(w config.Workload, all []config.Workload) ([]destination, error) {
	var out []destination
	for _, server := range config.Servers(w, all) {
		out = append(out, destination{port: server.Port, protocol: "tcp"})
	}
	if len(out) > 0 {
		out = append(out, destination{port: config.DNSPort, protocol: "udp"}, destination{port: config.DNSPort, protocol: "tcp"})
	}
	for _, e := range w.Egress {
		prefix, err := netip.ParsePrefix(e.CIDR)
		if err != nil {
			return nil, fmt.Errorf("%q is not a CIDR: %w", e.CIDR, err)
		}
		d := destination{prefix: prefix.Masked(), port: e.Port, protocol: e.Protocol}
		if prefix.Bits() == 0 {
			d.prefix = netip.Prefix{}
		}
		out = append(out, d)
	}
	return out, nil
}

// splitImage returns the name of an image as the container runtime gives it, and its digest if it has one.
func splitImage(image string) (repository, digest string) {
	name, digest, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i] // a tag
	}
	host, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		return "docker.io/library/" + name, digest
	case host != "localhost" && !strings.ContainsAny(host, ".:"):
		return "docker.io/" + name, digest
	}
	return name, digest
}
