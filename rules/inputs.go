package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/internal/lazyregexp"
)

// Inputs are the settings that the generated file of overrides is made from. They are plain values: no setting is read here.
type Inputs struct {
	// FalcoVersion is the version of Falco that will load the files, such as 0.40.0: one that falco.Lookup knows.
	FalcoVersion string
	// AgentSocketPath is the path on the node at which the SPIRE agent listens, such as /tmp/spire-agent/public/api.sock.
	// It must lie at least two directories deep: the last two name the directory that no one else may change.
	AgentSocketPath string
	// SPIRENamespaces are the namespaces of SPIRE's own pods, at least one.
	SPIRENamespaces []string
	// AllowedSocketProcesses are absolute paths of further executables that may use the agent's socket, on the node or in any pod,
	// as long as they do not come from a container's writable layer. Names without a path are refused: a renamed binary has any name.
	AllowedSocketProcesses []string
	// Workloads are the pods under watch; without any, the rules about workloads match nothing.
	Workloads []Workload
	// ExtraFiles are the user's own rule files, checked with ours and loaded after the stock rules.
	ExtraFiles []File
}

// Workload is what Falco takes for normal in the pods of one workload.
type Workload struct {
	// Name of the workload and of its container; empty means that Label names the container.
	Name string
	// Namespace of its pods.
	Namespace string
	// Label is the value of the pods' label "app".
	Label string
	// Port is the one port that Executable may bind, 1 to 65535; 0 when it listens nowhere.
	Port int
	// Image of its container, with or without tag or digest, such as ghcr.io/you/orders:1.2; empty means DefaultImage. No other image
	// may hold its programs. A digest is held to as well.
	Image string
	// Executable is the absolute path of its program in the image, such as /mtls-server.
	Executable string
	// Health is the command that the kubelet runs in its container, with arguments; empty means none. Executable may be started once,
	// as the container's first process, and by this command.
	Health []string
	// Children are absolute paths of further executables of the image that may run in its pods.
	Children []string
	// Egress lists where it may connect to; empty means nowhere (loopback aside).
	Egress []Endpoint
	// CertificateDirs are absolute directories in which Executable may write certificate and key files.
	CertificateDirs []string
	// SocketPath is the path of the Workload API socket in its containers; empty means DefaultSocketPath.
	SocketPath string
}

// Endpoint is one destination that a workload may connect to.
type Endpoint struct {
	// CIDR such as 10.0.0.0/8, or one IP address; empty means any address. Names are refused: neither a NetworkPolicy nor Falco can hold
	// a connection to one.
	CIDR string
	// Port, 1 to 65535.
	Port int
	// Protocol is tcp or udp.
	Protocol string
}

// DefaultImage is the name that the container runtime of Minikube gives to the project's own image.
const DefaultImage = "docker.io/library/mtls-server"

// DefaultSocketPath is where the SPIFFE CSI driver's volume shows the agent's socket in a container.
const DefaultSocketPath = "/spiffe-workload-api/api.sock"

// InputError is one setting that cannot be used.
type InputError struct {
	// Field in Go notation, such as Workloads[0].Port.
	Field string
	// Value as it was given.
	Value string
	// Want says what is allowed.
	Want string
}

// Error names the field, the value and what is allowed.
func (e *InputError) Error() string {
	return fmt.Sprintf("rules: %s: %q: want %s", e.Field, e.Value, e.Want)
}

// As in config, whose forms these values have, no pattern lets a setting become condition syntax or YAML structure.
var (
	namePattern  = lazyregexp.New(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	labelPattern = lazyregexp.New(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
)

const (
	wantPath  = config.WantPath
	wantName  = "a Kubernetes name: lower-case letters, digits and -, at most 63"
	wantLabel = "a label value: letters, digits and -_., at most 63, beginning and ending with a letter or digit"
)

func isPath(p string) bool  { return config.ValidPath(p) }
func isName(s string) bool  { return len(s) <= 63 && namePattern.MatchString(s) }
func isLabel(s string) bool { return len(s) <= 63 && labelPattern.MatchString(s) }

type problems struct{ errs []error }

func (p *problems) check(ok bool, field, value, want string) {
	if !ok {
		p.errs = append(p.errs, &InputError{Field: field, Value: value, Want: want})
	}
}

// Validate reports every setting that cannot be used, joined; each is an [*InputError].
func (in Inputs) Validate() error {
	var p problems
	_, err := falco.Lookup(in.FalcoVersion)
	p.check(err == nil, "FalcoVersion", in.FalcoVersion, "a Falco that this project knows, such as "+falco.Newest().Number)
	p.check(isPath(in.AgentSocketPath) && strings.Count(in.AgentSocketPath, "/") >= 3, "AgentSocketPath", in.AgentSocketPath,
		wantPath+", at least two directories deep, such as /tmp/spire-agent/public/api.sock")
	p.check(len(in.SPIRENamespaces) > 0, "SPIRENamespaces", "", "at least one namespace")
	for i, ns := range in.SPIRENamespaces {
		p.check(isName(ns), fmt.Sprintf("SPIRENamespaces[%d]", i), ns, wantName)
	}
	for i, exe := range in.AllowedSocketProcesses {
		want := wantPath
		if exe != "" && !strings.Contains(exe, "/") {
			want = "the absolute path of the executable: a bare name would let any binary of that name through"
		}
		p.check(isPath(exe), fmt.Sprintf("AllowedSocketProcesses[%d]", i), exe, want)
	}
	seen := map[string]int{}
	for i, w := range in.Workloads {
		field := fmt.Sprintf("Workloads[%d]", i)
		w.validate(&p, field)
		key := w.Namespace + "/" + w.Label
		if j, dup := seen[key]; dup {
			p.check(false, field+".Label", w.Label, fmt.Sprintf("a pair of namespace and label that Workloads[%d] does not have", j))
		} else {
			seen[key] = i
		}
		p.check(!slices.Contains(in.SPIRENamespaces, w.Namespace), field+".Namespace", w.Namespace,
			"a namespace that is not SPIRE's: there the rules trust what runs")
	}
	ours := map[string]bool{settingsFile: true}
	for _, f := range Static() {
		ours[f.Name] = true
	}
	for i, f := range in.ExtraFiles {
		field := fmt.Sprintf("ExtraFiles[%d].Name", i)
		p.check(config.ValidRuleFile(f.Name), field, f.Name, "a file name ending in .yaml")
		p.check(!ours[f.Name], field, f.Name, "a name that no other rule file has")
		ours[f.Name] = true
	}
	return errors.Join(p.errs...)
}

func (w Workload) validate(p *problems, field string) {
	p.check(isName(w.Namespace), field+".Namespace", w.Namespace, wantName)
	p.check(isLabel(w.Label), field+".Label", w.Label, wantLabel)
	p.check(w.Port >= 0 && w.Port <= 65535, field+".Port", strconv.Itoa(w.Port), "1 to 65535, or 0 for a workload that listens nowhere")
	p.check(w.Name == "" || isLabel(w.Name), field+".Name", w.Name, wantLabel)
	p.check(w.Image == "" || config.ValidImage(w.Image), field+".Image", w.Image,
		"an image such as ghcr.io/you/orders:1.2, with or without tag or digest")
	p.check(isPath(w.Executable), field+".Executable", w.Executable, wantPath)
	for i, a := range w.Health {
		if i == 0 {
			p.check(isPath(a), field+".Health[0]", a, wantPath)
			continue
		}
		p.check(config.ValidArgument(a), fmt.Sprintf("%s.Health[%d]", field, i), a, "an argument "+config.WantArgument)
	}
	for i, c := range w.Children {
		p.check(isPath(c), fmt.Sprintf("%s.Children[%d]", field, i), c, wantPath)
	}
	for i, d := range w.CertificateDirs {
		p.check(isPath(d), fmt.Sprintf("%s.CertificateDirs[%d]", field, i), d, wantPath)
	}
	if w.SocketPath != "" {
		p.check(isPath(w.SocketPath) && strings.Count(w.SocketPath, "/") >= 2, field+".SocketPath", w.SocketPath,
			wantPath+", in a directory of its own, such as "+DefaultSocketPath)
	}
	for i, e := range w.Egress {
		f := fmt.Sprintf("%s.Egress[%d]", field, i)
		_, err := e.prefix()
		p.check(err == nil, f+".CIDR", e.CIDR, "an IP address, a CIDR such as 10.0.0.0/8, or nothing for any address; names cannot be held to")
		p.check(e.Port >= 1 && e.Port <= 65535, f+".Port", strconv.Itoa(e.Port), "1 to 65535")
		_, ok := e.protocol()
		p.check(ok, f+".Protocol", e.Protocol, "tcp or udp")
	}
}

// container returns the name of the workload's container.
func (w Workload) container() string {
	if w.Name == "" {
		return w.Label
	}
	return w.Name
}

// image returns the name of the workload's image as the container runtime gives it, and its digest if it has one.
func (w Workload) image() (repository, digest string) {
	name := w.Image
	if name == "" {
		name = DefaultImage
	}
	name, digest, _ = strings.Cut(name, "@")
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

// prefix returns the destination as a prefix, and no valid prefix for any address.
func (e Endpoint) prefix() (netip.Prefix, error) {
	if e.CIDR == "" {
		return netip.Prefix{}, nil
	}
	var pre netip.Prefix
	if strings.Contains(e.CIDR, "/") {
		parsed, err := netip.ParsePrefix(e.CIDR)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("parse destination %q: %w", e.CIDR, err)
		}
		pre = parsed.Masked()
	} else {
		addr, err := netip.ParseAddr(e.CIDR)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("parse destination %q: want an IP address or CIDR", e.CIDR)
		}
		pre = netip.PrefixFrom(addr, addr.BitLen())
	}
	if pre.Bits() == 0 {
		return netip.Prefix{}, nil
	}
	return pre, nil
}

func (e Endpoint) protocol() (string, bool) {
	p := strings.ToLower(e.Protocol)
	return p, p == "tcp" || p == "udp"
}
