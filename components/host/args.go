package host

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"spire-falco/config"
	"spire-falco/falco"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
)

// Defaults of Args, for the settings.
const (
	// DefaultPort is sshd's port.
	DefaultPort = 22
	// DefaultBufferPreset is Falco's own: 8 MB for each ring buffer.
	DefaultBufferPreset = 4
	// DefaultPriority lets every rule alert, as Falco's own configuration does.
	DefaultPriority = "debug"
	// DefaultWebserverPort is Falco's own.
	DefaultWebserverPort = 8765
	// DefaultStartTimeout is in seconds. On an idle machine Falco needs a few.
	DefaultStartTimeout = 60
	// DefaultRotateMB and DefaultRotateKeep bound the alert file and its rotated parts.
	DefaultRotateMB   = 100
	DefaultRotateKeep = 7
)

// Args describes the machines and what Falco does on them.
type Args struct {
	// Hosts are the machines; at least one.
	Hosts []Host
	// FalcoVersion is the version of the package; one of Versions.
	FalcoVersion string
	// Rules maps base names that end in .yaml to rule files: the data of the cluster's ConfigMap.
	Rules map[string]string
	// RulesBeforeStock and RulesAfterStock contain each name in Rules once, in load order: those that load before the
	// machine's own rule files, and those that load after them.
	RulesBeforeStock, RulesAfterStock []string
	// RulesHash identifies the rules in messages and in Fleet.Status.
	RulesHash string
	// AgentSocketPath is the Workload API socket of the machine's SPIRE agent, which Rules watch. A note is printed for a
	// machine where nothing listens there.
	AgentSocketPath string
	// Output is where alerts go.
	Output Output
	// BufferPreset is the size of the ring buffers between kernel and Falco, 1 (1 MB) to 10 (512 MB) as in Falco's
	// buf_size_preset; 0 is DefaultBufferPreset.
	BufferPreset int
	// Priority is the least severe priority that alerts; empty is DefaultPriority.
	Priority string
	// WebserverPort is the loopback port of Falco's health and metrics endpoints; 0 is DefaultWebserverPort.
	WebserverPort int
	// StartTimeout is how many seconds Falco has to serve with new rules before the previous ones are restored; 0 is
	// DefaultStartTimeout.
	StartTimeout int
	// Repository is the apt repository of the package; nil is FalcoRepository.
	Repository *Repository
}

// Host is one machine.
type Host struct {
	// Name identifies the machine in the stack: a unique DNS label.
	Name string
	// Local means the machine that the program runs on; then every field below is empty.
	Local bool
	// Address is a DNS name or an IP address.
	Address string
	// Port is sshd's port; 0 is DefaultPort.
	Port int
	// User is the user to log in as: root, or one that may use sudo without a password.
	User string
	// PrivateKey is the user's key in PEM. It is always treated as a secret.
	PrivateKey pulumi.StringInput
	// PrivateKeyPassword decrypts PrivateKey; nil if that is not encrypted. It is always treated as a secret.
	PrivateKeyPassword pulumi.StringInput
	// HostKey is the machine's public key, as in its /etc/ssh/ssh_host_ed25519_key.pub or in known_hosts.
	HostKey string
}

// Output is where the alerts of a machine go, as JSON. At least one of File, Syslog and HTTP is set.
type Output struct {
	// File is the absolute path of a file to which alerts are appended, one per line; empty is off.
	File string
	// RotateMB is the size in MB above which the file is rotated before the daily rotation; 0 is DefaultRotateMB.
	RotateMB int
	// RotateKeep is how many rotated files are kept; 0 is DefaultRotateKeep.
	RotateKeep int
	// Syslog sends alerts to syslog, and so to the journal.
	Syslog bool
	// HTTP is the URL of a Falcosidekick or similar; empty is off.
	HTTP string
}

// Repository is an apt repository with Falco's package.
type Repository struct {
	// URL is the repository's URL without the suite.
	URL string
	// Suite and Component are those of a sources.list line.
	Suite, Component string
	// KeyURL is the URL of its public key.
	KeyURL string
	// KeyFingerprint is the full fingerprint of that key: 40 hexadecimal digits. No other key is trusted.
	KeyFingerprint string
}

// FalcoRepository is Falco's own, with the key that signs all its packages since January 2026 and expires on
// 2028-12-10 (falco.org, "Package signing").
var FalcoRepository = Repository{
	URL:            "https://download.falco.org/packages/deb",
	Suite:          "stable",
	Component:      "main",
	KeyURL:         "https://falco.org/repo/falcosecurity-B35B1B1F.asc",
	KeyFingerprint: "478B2FBBC75F4237B731DA4365106822B35B1B1F",
}

// Versions returns the Falco versions that can be installed, oldest first.
func Versions() []string {
	var all []string
	for _, v := range falco.Versions() {
		all = append(all, v.Number)
	}
	return all
}

var (
	namePattern        = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	addressPattern     = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$`)
	userPattern        = regexp.MustCompile(`^[a-z_][-a-z0-9_]{0,31}$`)
	ruleFilePattern    = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._]*\.ya?ml$`)
	pathPattern        = regexp.MustCompile(`^(/[-A-Za-z0-9._]+)+$`)
	fingerprintPattern = regexp.MustCompile(`^[0-9A-F]{40}$`)
	wordPattern        = regexp.MustCompile(`^[-A-Za-z0-9._/]+$`)
	hashPattern        = regexp.MustCompile(`^[-A-Za-z0-9._:]+$`)
)

// sandboxed are the directories that the unit of Falco's package cannot write to, or that differ from the machine's
// (ProtectSystem=full, ProtectHome=read-only, PrivateTmp=true).
var sandboxed = []string{
	"/usr", "/boot", "/efi", "/etc", "/home", "/root", "/run/user", "/tmp", "/var/tmp", "/proc", "/sys", "/dev",
}

// problems collects invalid values.
type problems []error

func (p *problems) add(key, value, want string) {
	*p = append(*p, fmt.Errorf("%s: %q is not allowed: %s", key, value, want))
}

func (p *problems) number(key string, value, lowest, highest int) {
	if value != 0 && (value < lowest || value > highest) {
		p.add(key, strconv.Itoa(value), fmt.Sprintf("a whole number from %d to %d", lowest, highest))
	}
}

// Validate checks everything that is possible before a machine is reached, and returns all problems at once, each with
// the path of its field.
func (a *Args) Validate() error {
	var p problems
	if len(a.Hosts) == 0 {
		p = append(p, errors.New("hosts: at least one is needed"))
	}
	names := map[string]int{}
	places := map[string]int{}
	for i, h := range a.Hosts {
		key := fmt.Sprintf("hosts[%d]", i)
		h.validate(&p, key)
		if first, taken := names[h.Name]; taken {
			p.add(key+".name", h.Name, fmt.Sprintf("hosts[%d] has it already", first))
		} else {
			names[h.Name] = i
		}
		if first, taken := places[h.place()]; taken {
			p = append(p, fmt.Errorf("%s: the same machine as hosts[%d] (%s)", key, first, h.place()))
		} else {
			places[h.place()] = i
		}
	}
	if !slices.Contains(Versions(), a.FalcoVersion) {
		p.add("falcoVersion", a.FalcoVersion, "one of "+strings.Join(Versions(), ", "))
	}
	a.validateRules(&p)
	if !pathPattern.MatchString(a.AgentSocketPath) {
		p.add("agentSocketPath", a.AgentSocketPath, "an absolute path")
	}
	a.Output.validate(&p)
	p.number("bufferPreset", a.BufferPreset, 1, 10)
	p.number("webserverPort", a.WebserverPort, 1, 65535)
	p.number("startTimeout", a.StartTimeout, 5, 3600)
	if a.Priority != "" {
		if _, err := falco.ParsePriority(a.Priority); err != nil {
			p.add("priority", a.Priority, "one of "+strings.Join(falco.PrioritySettings(), ", "))
		}
	}
	if a.Repository != nil {
		a.Repository.validate(&p)
	}
	return errors.Join(p...)
}

func (a *Args) validateRules(p *problems) {
	if len(a.Rules) == 0 {
		*p = append(*p, errors.New("rules: at least one file is needed"))
	}
	order := slices.Concat(a.RulesBeforeStock, a.RulesAfterStock)
	for _, name := range sortedKeys(a.Rules) {
		switch {
		case !ruleFilePattern.MatchString(name):
			p.add("rules", name, "a base name of letters, digits, '-', '_' and '.', ending in .yaml")
		case !slices.Contains(order, name):
			p.add("rulesBeforeStock", strings.Join(order, " "), "it or rulesAfterStock must have "+name)
		case strings.ContainsRune(a.Rules[name], 0):
			p.add("rules", name, "its content has a NUL byte")
		}
	}
	seen := map[string]bool{}
	for _, name := range order {
		if seen[name] {
			p.add("rulesBeforeStock", name, "listed twice, there or in rulesAfterStock")
		}
		seen[name] = true
		if _, ok := a.Rules[name]; !ok {
			p.add("rulesBeforeStock", name, "rules has no such file")
		}
	}
	if !hashPattern.MatchString(a.RulesHash) {
		p.add("rulesHash", a.RulesHash, "letters, digits, '-', '_', '.' and ':'")
	}
}

// place identifies the machine.
func (h *Host) place() string {
	if h.Local {
		return "this machine"
	}
	return net.JoinHostPort(h.Address, strconv.Itoa(h.port()))
}

func (h *Host) port() int {
	if h.Port == 0 {
		return DefaultPort
	}
	return h.Port
}

func (h *Host) validate(p *problems, key string) {
	if !namePattern.MatchString(h.Name) {
		p.add(key+".name", h.Name, "a DNS label: lower-case letters, digits and '-', at most 63")
	}
	if h.Local {
		if h.Address != "" || h.Port != 0 || h.User != "" || h.HostKey != "" ||
			h.PrivateKey != nil || h.PrivateKeyPassword != nil {
			*p = append(*p, fmt.Errorf("%s: local is set, so address, port, user, hostKey and private key must not be", key))
		}
		return
	}
	if net.ParseIP(h.Address) == nil && !addressPattern.MatchString(h.Address) {
		p.add(key+".address", h.Address, "a DNS name or an IP address")
	}
	p.number(key+".port", h.Port, 1, 65535)
	if !userPattern.MatchString(h.User) {
		p.add(key+".user", h.User, "a Linux user name")
	}
	if h.PrivateKey == nil {
		*p = append(*p, fmt.Errorf("%s: no private key; it is read from the secret settings only", key))
	}
	if _, err := hostKey(h.HostKey); err != nil {
		*p = append(*p, fmt.Errorf("%s.hostKey: %w", key, err))
	}
}

// hostKey parses a line of a .pub or known_hosts file and returns it in the form that the command provider expects.
func hostKey(line string) (string, error) {
	const how = "read it on the machine's own console with: cat /etc/ssh/ssh_host_ed25519_key.pub"
	if strings.TrimSpace(line) == "" {
		return "", errors.New("not set: without a pinned host key anyone in the network path could impersonate the machine " +
			"and receive commands meant for root; " + how)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || strings.TrimSpace(string(rest)) != "" {
		return "", fmt.Errorf("%q is not one public key (ssh-ed25519 AAAA...); %s", line, how)
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
	case ssh.KeyAlgoRSA:
		// The command provider offers the type of the pinned key as the only signature algorithm, and sshd has
		// refused ssh-rsa, which means SHA-1, since OpenSSH 8.8.
		return "", errors.New("an ssh-rsa key cannot be pinned: the command provider would request SHA-1 signatures, " +
			"which sshd refuses since OpenSSH 8.8; " + how)
	default:
		return "", fmt.Errorf("a key of type %s cannot be pinned: must be ssh-ed25519 or ecdsa-sha2-nistp256, 384 or 521; %s",
			key.Type(), how)
	}
}

func (o *Output) validate(p *problems) {
	if o.File == "" && !o.Syslog && o.HTTP == "" {
		*p = append(*p, errors.New("output: file, syslog and http are all off; Falco refuses to start without an output"))
	}
	if o.File != "" {
		switch {
		case !pathPattern.MatchString(o.File) || path.Clean(o.File) != o.File:
			p.add("output.file", o.File, "an absolute path of letters, digits, '-', '_' and '.'")
		default:
			for _, dir := range sandboxed {
				if strings.HasPrefix(o.File, dir+"/") {
					p.add("output.file", o.File, "Falco's service cannot write below "+dir+"; /var/log/falco is a good place")
				}
			}
		}
	}
	p.number("output.rotateMB", o.RotateMB, 1, config.MaxRotateMB)
	p.number("output.rotateKeep", o.RotateKeep, 1, config.MaxRotateKeep)
	if o.HTTP != "" {
		u, err := url.Parse(o.HTTP)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			p.add("output.http", redact(o.HTTP, u), "an http or https URL")
		case u.User != nil || u.RawQuery != "":
			p.add("output.http", redact(o.HTTP, u),
				"no user, password or query: they would be in a file on every machine; use a Falcosidekick for them")
		case strings.ContainsAny(o.HTTP, "'\"\\\n "):
			p.add("output.http", redact(o.HTTP, u), "no quotes, backslashes or spaces")
		}
	}
}

// redact removes credentials from a refused URL.
func redact(raw string, u *url.URL) string {
	if u == nil {
		return "(not a URL)"
	}
	if u.User == nil && u.RawQuery == "" {
		return raw
	}
	return u.Scheme + "://" + u.Host + u.Path
}

func (r *Repository) validate(p *problems) {
	for key, raw := range map[string]string{"repository.url": r.URL, "repository.keyUrl": r.KeyURL} {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
			u.User != nil || u.RawQuery != "" || strings.ContainsAny(raw, "'\"\\\n ") {
			p.add(key, redact(raw, u), "an http or https URL without credentials")
		}
	}
	if !wordPattern.MatchString(r.Suite) {
		p.add("repository.suite", r.Suite, "a suite, such as stable")
	}
	if !wordPattern.MatchString(r.Component) {
		p.add("repository.component", r.Component, "a component, such as main")
	}
	if !fingerprintPattern.MatchString(r.KeyFingerprint) {
		p.add("repository.keyFingerprint", r.KeyFingerprint,
			"a full fingerprint: 40 hexadecimal digits in upper case, without spaces")
	}
}
