package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"spire-falco/charts"
	"spire-falco/falco"
	"spire-falco/internal/lazyregexp"
	"spire-falco/internal/redact"
	"spire-falco/report"
)

// Source is where raw settings come from. Keys are without the project's namespace; values are as Pulumi gives them to
// a program: scalars as text, arrays and objects as JSON.
type Source struct {
	// Stack is the name of the stack; the default kubeconfig path carries it.
	Stack string
	// Values by key. The value of a secret may be left out here; its key must then stand in Secrets.
	Values map[string]string
	// Secrets has the keys whose values are kept secret.
	Secrets map[string]bool
	// Where tells where a key is set, such as Pulumi.dev.yaml:7:3; optional.
	Where func(key string) string
	// LookupEnv reads the environment; os.LookupEnv outside tests. Nil means an empty environment.
	LookupEnv func(string) (string, bool)
}

// keys are those of every setting that is set, sorted.
func (s Source) keys() []string {
	keys := slices.Concat(slices.Collect(maps.Keys(s.Values)), slices.Collect(maps.Keys(s.Secrets)))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Problem is one thing wrong with the settings.
type Problem struct {
	// Key of the setting, or the name of the environment variable.
	Key string
	// Value as it was given, cut when it is long; never that of a secret, and without credentials that it holds.
	Value string
	// Want says what is allowed.
	Want string
	// Where it was set, if known.
	Where string
}

// maxShown is how much of a key and a value is shown, in characters.
const maxShown = 300

// Error has the place, the key, the value and what it must be, on one line.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Where != "" {
		b.WriteString(report.Text(p.Where) + ": ")
	}
	b.WriteString(report.Bounded(p.Key, maxShown))
	if p.Value != "" {
		b.WriteString(" = " + report.Bounded(strconv.Quote(p.Value), maxShown))
	}
	b.WriteString(": " + report.Text(p.Want))
	return b.String()
}

// Problems is every problem of a configuration, in the order of Declared.
type Problems []Problem

// Error lists all problems, one on a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = "  " + p.Error()
	}
	noun := "problems"
	if len(ps) == 1 {
		noun = "problem"
	}
	return fmt.Sprintf("the settings have %d %s:\n%s", len(ps), noun, strings.Join(lines, "\n"))
}

// Load reads, defaults and validates all settings. The error is of type Problems and holds every problem found.
func Load(src Source) (*Settings, error) {
	l := &loader{src: src, spoiled: map[string]bool{}}
	l.unknownKeys()
	l.texts()
	s := &Settings{
		EnableFalco: l.enableFalco(),
		Cluster:     l.cluster(),
		SPIRE:       l.spire(),
		Falco:       l.falco(),
		Sidekick:    l.sidekick(),
		Hosts:       l.hosts(),
		Workloads:   l.workloads(),
	}
	for _, key := range []string{"charts.falcoRepository", "charts.spireRepository"} {
		l.matching(key, chartRepository, "an http://, https:// or oci:// URL of a Helm repository, without user and password")
	}
	s.ImageRepository = l.matching("image.repository", imageRepository, "a registry and path such as ghcr.io/you/mtls-server, without a tag")
	if s.ImageRepository != "" && !ValidImage(s.ImageRepository) && imageRepository.MatchString(s.ImageRepository) {
		l.problem("image.repository", s.ImageRepository, fmt.Sprintf("must have at most %d bytes", maxInRule))
	}
	l.together(s)
	if len(l.problems) > 0 {
		order := map[string]int{EnableFalcoVariable: -1}
		for i, d := range Declared {
			order[d.Key] = i
		}
		sort.SliceStable(l.problems, func(i, j int) bool {
			return order[declaredKey(l.problems[i].Key)] < order[declaredKey(l.problems[j].Key)]
		})
		return nil, l.problems
	}
	for _, c := range []charts.Chart{s.Falco.Chart.Chart, s.Sidekick.Chart, s.SPIRE.Chart.Chart, s.SPIRE.CRDs} {
		if c.Warning != "" && (s.EnableFalco || c.Name == charts.SPIREName || c.Name == charts.SPIRECRDsName) {
			s.Warnings = append(s.Warnings, c.Warning)
		}
	}
	return s, nil
}

// rootKey is the key of the source that a place inside its value belongs to: workloads of workloads[0].port.
func rootKey(key string) string {
	root, _, _ := strings.Cut(key, "[")
	return root
}

// declaredKey is the declared key that a place belongs to: rootKey, or the object that it is a key of.
func declaredKey(key string) string {
	if values := valuesKey(key); values != "" {
		return values
	}
	key = rootKey(key)
	if strings.HasPrefix(key, OutputsKey+".") {
		return OutputsKey
	}
	return key
}

type loader struct {
	src      Source
	problems Problems
	// spoiled has the keys of texts that texts refused.
	spoiled map[string]bool
}

func (l *loader) problem(key, value, want string) {
	// The value may be a credential in the wrong place, and a text of any size.
	p := Problem{Key: key, Value: redact.String(value), Want: redact.String(want)}
	root := rootKey(key)
	if l.spoiled[key] { // what else is wrong with such a text does not matter
		return
	}
	if d, ok := declared(root); ok && d.Secret || l.src.Secrets[root] {
		p.Value = ""
	}
	if l.src.Where != nil && key != EnableFalcoVariable {
		if p.Where = l.src.Where(key); p.Where == "" {
			p.Where = l.src.Where(root)
		}
	}
	l.problems = append(l.problems, p)
}

func (l *loader) unknownKeys() {
	for _, k := range l.src.keys() {
		if _, ok := declared(declaredKey(k)); ok {
			continue
		}
		want := "no such setting"
		if first := firstOf(k); first != "" {
			want += "; it is the beginning of others, such as " + first
		} else if near := nearest(k); near != "" {
			want += "; did you mean " + near + "?"
		}
		l.problem(k, "", want)
	}
}

// firstOf is the first declared key of a group that is no secret; empty when no declared key begins with it and a dot.
func firstOf(group string) string {
	for _, d := range Declared {
		if !d.Secret && strings.HasPrefix(d.Key, group+".") {
			return d.Key
		}
	}
	return ""
}

// Known tells whether key is that of a setting, or of a group of settings, such as minikube of minikube.cpus.
func Known(key string) bool {
	_, ok := declared(declaredKey(key))
	return ok || firstOf(key) != ""
}

// raw is the value of a key, or its default. A secret whose value is not known here is given as "".
func (l *loader) raw(key string) string {
	d, ok := declared(key)
	if !ok {
		panic("config: key " + key + " is not declared") // a programming error that every test run meets
	}
	v, set := l.src.Values[key]
	if d.Secret && set && v != "" && !l.src.Secrets[key] {
		l.problem(key, "", "is a secret, but stands in plain text; set it with: pulumi config set --secret "+Project+":"+key)
	}
	if !set {
		return d.Default
	}
	return v
}

func (l *loader) isSet(key string) bool {
	return l.raw(key) != "" || l.src.Secrets[key]
}

func (l *loader) boolean(key string) bool {
	v := l.raw(key)
	b, ok := parseBool(v)
	if !ok {
		l.problem(key, v, "must be true or false")
	}
	return b
}

// parseBool takes true, false, 1 and 0 in any case, and nothing else.
func parseBool(v string) (value, ok bool) {
	switch strings.ToLower(v) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

func (l *loader) integer(key string, low, high int, want string) int {
	v := l.raw(key)
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		l.problem(key, v, "must be "+want)
	}
	return n
}

func (l *loader) oneOf(key string, allowed []string) string {
	v := l.raw(key)
	for _, a := range allowed {
		if v == a {
			return v
		}
	}
	want := "must be one of " + strings.Join(allowed, ", ")
	if len(allowed) == 1 {
		want = "must be " + allowed[0]
	}
	l.problem(key, v, want)
	return v
}

func (l *loader) priority(key string) string {
	p, err := falco.ParsePriority(l.raw(key))
	if err != nil {
		l.problem(key, l.raw(key), "must be one of "+priorities)
	}
	return p.Setting()
}

// matching reads a text that is either empty (where the default is) or has the form.
func (l *loader) matching(key string, form lazyregexp.Regexp, want string) string {
	v := l.raw(key)
	d, _ := declared(key)
	if v == "" && d.Default == "" {
		return v
	}
	if !form.MatchString(v) {
		l.problem(key, v, "must be "+want)
	}
	return v
}

func (l *loader) chart(key, name string) charts.Chart {
	c, err := charts.Resolve(name, l.raw(key))
	if err != nil {
		l.problem(key, l.raw(key), err.Error())
	}
	c.Repository = l.repository(name)
	return c
}

// repository is the Helm repository that serves the named chart: its own, or the user's mirror.
func (l *loader) repository(chart string) string {
	if chart == charts.FalcoName || chart == charts.FalcosidekickName {
		return l.raw("charts.falcoRepository")
	}
	return l.raw("charts.spireRepository")
}

func (l *loader) strings(key string) []string {
	var out []string
	if err := json.Unmarshal([]byte(l.raw(key)), &out); err != nil {
		l.problem(key, l.raw(key), "must be a list of texts")
	}
	return out
}

func (l *loader) absolutePaths(key string) []string {
	paths := l.strings(key)
	for i, p := range paths {
		if !ValidPath(p) {
			l.problem(fmt.Sprintf("%s[%d]", key, i), p, "must be "+WantPath+"; any renamed program could have a bare name")
		}
	}
	return paths
}

// ruleFiles reads paths of rule files, whose base names become keys of a ConfigMap beside our own files.
func (l *loader) ruleFiles(key string) []string {
	paths := l.strings(key)
	first := map[string]int{}
	for i, p := range paths {
		at, name := fmt.Sprintf("%s[%d]", key, i), filepath.Base(p)
		j, taken := first[name]
		switch {
		case !ValidRuleFile(name):
			l.problem(at, p, "must name a file of letters, digits and ._- that ends in .yaml")
		case strings.HasPrefix(name, OwnRulesPrefix):
			l.problem(at, p, "must name a file that does not begin with "+OwnRulesPrefix+": those are this project's own")
		case taken:
			l.problem(at, p, fmt.Sprintf("must have another base name than %s[%d]: both become one key of a ConfigMap", key, j))
		default:
			first[name] = i
		}
	}
	return paths
}

func (l *loader) enableFalco() bool {
	fromSetting := l.boolean("enableFalco")
	if l.src.LookupEnv == nil {
		return fromSetting
	}
	v, ok := l.src.LookupEnv(EnableFalcoVariable)
	if !ok {
		return fromSetting
	}
	b, ok := parseBool(v)
	if !ok {
		l.problems = append(l.problems, Problem{Key: EnableFalcoVariable, Value: v, Want: "the environment variable must be true, false, 1 or 0 (any case), or not be set"})
	}
	return b
}

var (
	dnsLabel = lazyregexp.New(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// trustDomainPattern follows the SPIFFE ID specification: lower-case letters, digits, dots, dashes, underscores.
	trustDomainPattern = lazyregexp.New(`^[a-z0-9._-]{1,255}$`)
	minikubeProfile    = lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]$`)
	diskSize           = lazyregexp.New(`^[1-9][0-9]*(k|kb|m|mb|g|gb|t|tb)$`)
	kubernetesVersion  = lazyregexp.New(`^v1\.[0-9]{1,3}\.[0-9]{1,3}$`)
	cpuQuantity        = lazyregexp.New(`^([1-9][0-9]*m|[0-9]+(\.[0-9]{1,3})?)$`)
	memoryQuantity     = lazyregexp.New(`^[1-9][0-9]*(Ki|Mi|Gi|k|M|G)?$`)
	indexName          = lazyregexp.New(`^[a-z0-9][a-z0-9._-]{0,254}$`)
	typeName           = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9_-]*$`)
	httpURL            = lazyregexp.New(`^https?://[^\s/?#@]+(:[0-9]{1,5})?(/[^\s?#@]*)?$`)
	imageRepository    = lazyregexp.New(`^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$`)
	chartRepository    = lazyregexp.New(`^(https?|oci)://[^\s?#@]+$`)
	contextName        = lazyregexp.New(`^[^\s]+$`)
	userName           = lazyregexp.New(`^[^\s:]+$`)
)

// maxSocketPath is the longest path of a Unix socket on Linux, in bytes: sun_path has 108 with the NUL at its end.
const maxSocketPath = 107

func wantSocketLength(path string) string {
	return fmt.Sprintf("must have at most %d bytes, as the kernel allows for a socket, also as %s/BASE_NAME; it has %d", maxSocketPath, filepath.Dir(DefaultAgentSocketPath), len(path))
}

const wantDNSLabel = "a DNS label: lower-case letters, digits and dashes, at most 63"

func (l *loader) cluster() Cluster {
	c := Cluster{
		Mode:       l.oneOf("cluster.mode", []string{ModeMinikube, ModeExisting}),
		Kubeconfig: l.raw("cluster.kubeconfig"),
		Context:    l.matching("cluster.context", contextName, "the name of a context, without spaces"),
		Testing:    l.boolean("cluster.testing"),
		Minikube: Minikube{
			Profile:           l.matching("minikube.profile", minikubeProfile, "letters, digits and dashes, from 2 to 63, first and last a letter or digit"),
			Driver:            l.oneOf("minikube.driver", minikubeDrivers),
			CPUs:              l.integer("minikube.cpus", 2, 256, "a whole number from 2 to 256"),
			MemoryMiB:         l.integer("minikube.memory", 2048, 1<<20, "a whole number of MiB from 2048 to 1048576"),
			Disk:              l.disk("minikube.disk"),
			CNI:               l.oneOf("minikube.cni", minikubeNetworks),
			KubernetesVersion: l.matching("minikube.kubernetesVersion", kubernetesVersion, "of the form v1.36.3"),
		},
	}
	switch c.Mode {
	case ModeExisting:
		if c.Kubeconfig == "" {
			l.problem("cluster.kubeconfig", "", "is required with cluster.mode existing: the path of the cluster's kubeconfig")
		}
		if c.Context == "" {
			l.problem("cluster.context", "", "is required with cluster.mode existing, so that the stack can never land on another cluster than you mean")
		}
	case ModeMinikube:
		// It is written, and removed by a down: it must be a file that only this stack can have.
		own := StateDir(l.src.Stack)
		switch {
		case c.Kubeconfig == "":
			c.Kubeconfig = filepath.Join(own, "kubeconfig")
		case filepath.Clean(c.Kubeconfig) != c.Kubeconfig || filepath.Dir(c.Kubeconfig) != own || strings.HasPrefix(filepath.Base(c.Kubeconfig), "."):
			l.problem("cluster.kubeconfig", c.Kubeconfig, "must be empty or a file in "+own+" with cluster.mode minikube, such as "+filepath.Join(own, "kubeconfig")+": the stack creates and removes it; a kubeconfig of yours is for cluster.mode existing")
		}
		if c.Context != "" && c.Context != c.Minikube.Profile {
			l.problem("cluster.context", c.Context, "must be empty with cluster.mode minikube: it is always the profile's name, "+c.Minikube.Profile)
		}
		c.Context = c.Minikube.Profile
		l.minikube(c.Minikube)
	}
	return c
}

// minikube reports what Minikube itself would refuse only when the stack is half up.
func (l *loader) minikube(m Minikube) {
	if slices.Contains(minikubeWords, strings.ToLower(m.Profile)) {
		l.problem("minikube.profile", m.Profile, "must not be a word of Minikube's own: "+strings.Join(minikubeWords, ", "))
	}
	if m.Driver == "none" && m.Profile != MinikubeNoneProfile {
		l.problem("minikube.profile", m.Profile, "must be "+MinikubeNoneProfile+" with minikube.driver none, which knows no other")
	}
}

// disk is the size of a disk in Minikube's own form, large enough for Minikube.
func (l *loader) disk(key string) string {
	size := l.raw(key)
	if !diskSize.MatchString(size) || diskKiB(size) < minDiskMB<<10 {
		l.problem(key, size, fmt.Sprintf("must be a number and k, m, g or t, such as 20g, and at least %dm", minDiskMB))
	}
	return size
}

// diskKiB is a size that diskSize matches, in KiB; 0 for one that no disk has.
func diskKiB(size string) uint64 {
	number := strings.TrimRight(size, "bkmgt")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0
	}
	return n << map[byte]uint{'k': 0, 'm': 10, 'g': 20, 't': 30}[size[len(number)]]
}

func (l *loader) spire() SPIRE {
	s := SPIRE{
		Install:         l.oneOf("spire.mode", []string{ModeInstall, ModeExisting}) == ModeInstall,
		Namespace:       l.matching("spire.namespace", dnsLabel, wantDNSLabel),
		ClassName:       l.matching("spire.className", contextName, "the name of a class, without spaces"),
		TrustDomain:     l.matching("spire.trustDomain", trustDomainPattern, "a SPIFFE trust domain: lower-case letters, digits, dots, dashes and underscores, without spiffe:// and without a path"),
		ClusterName:     l.matching("spire.clusterName", dnsLabel, wantDNSLabel),
		Persistence:     l.oneOf("spire.persistence", []string{PersistencePVC, PersistenceEmptyDir}),
		AgentSocketPath: l.raw("spire.agentSocketPath"),
	}
	s.Chart, s.CRDs = l.spireCharts()
	s.Values = l.values(SPIREValuesKey, s.Chart.Chart)
	s.CRDValues = l.values(SPIRECRDsValuesKey, s.CRDs)
	if !s.Install {
		for _, key := range []string{SPIREValuesKey, SPIRECRDsValuesKey} {
			if v := l.raw(key); v != "" && v != "{}" {
				l.problem(key, "", "must be empty with spire.mode existing: the stack installs no SPIRE")
			}
		}
	}
	if s.Install {
		if s.ClassName != "" {
			l.problem("spire.className", s.ClassName, "must be empty with spire.mode install: the chart sets it")
		}
		s.ClassName = s.Namespace + "-" + SPIRERelease
	}
	switch {
	case !ValidPath(s.AgentSocketPath) || strings.Count(s.AgentSocketPath, "/") < 3:
		l.problem("spire.agentSocketPath", s.AgentSocketPath, "must be "+WantPath+", of a socket in a folder of its own, such as "+DefaultAgentSocketPath)
	// In its pod the agent of the chart binds the base name in this folder, whatever the folder on the node.
	case len(s.AgentSocketPath) > maxSocketPath, len(path.Join(path.Dir(DefaultAgentSocketPath), path.Base(s.AgentSocketPath))) > maxSocketPath:
		l.problem("spire.agentSocketPath", s.AgentSocketPath, wantSocketLength(s.AgentSocketPath))
	}
	return s
}

// spireCharts are the chart of SPIRE and the chart of its CRDs, which was published with it.
func (l *loader) spireCharts() (charts.SPIRE, charts.Chart) {
	const key, crdsKey = "spire.chartVersion", "spire.crdsChartVersion"
	chart, err := charts.ResolveSPIRE(l.raw(key))
	if err != nil {
		l.problem(key, l.raw(key), err.Error())
	}
	chart.Repository = l.repository(charts.SPIREName)
	version := l.raw(crdsKey)
	if version == "" {
		version = chart.CRDs
	}
	if version == "" { // the chart of SPIRE is not known, which is reported
		return chart, charts.Chart{}
	}
	crds, crdsErr := charts.Resolve(charts.SPIRECRDsName, version)
	switch {
	case crdsErr != nil:
		l.problem(crdsKey, version, crdsErr.Error())
	case err == nil && version != chart.CRDs:
		want := fmt.Sprintf("must be %s, which goes with chart spire %s; leave the setting out to get it", chart.CRDs, chart.Version)
		l.problem(crdsKey, version, want)
	}
	crds.Repository = l.repository(charts.SPIRECRDsName)
	return chart, crds
}

func (l *loader) falco() Falco {
	chart, err := charts.ResolveFalco(l.raw("falco.chartVersion"))
	if err != nil {
		l.problem("falco.chartVersion", l.raw("falco.chartVersion"), err.Error())
	}
	chart.Repository = l.repository(charts.FalcoName)
	const wantCPU, wantMemory = "a Kubernetes quantity of CPU such as 500m or 2", "a Kubernetes quantity of memory such as 256Mi"
	f := Falco{
		Chart:     chart,
		Namespace: l.matching("falco.namespace", dnsLabel, wantDNSLabel),
		Driver:    l.oneOf("falco.driver", []string{DriverModernEBPF}),
		Priority:  l.priority("falco.priority"),
		Requests: Resources{
			CPU:    l.matching("falco.requests.cpu", cpuQuantity, wantCPU),
			Memory: l.matching("falco.requests.memory", memoryQuantity, wantMemory),
		},
		Limits: Resources{
			CPU:    l.matching("falco.limits.cpu", cpuQuantity, wantCPU),
			Memory: l.matching("falco.limits.memory", memoryQuantity, wantMemory),
		},
		BufferPreset:     l.integer("falco.bufferPreset", 1, 10, "a whole number from 1 (1 MB) to 10 (512 MB)"),
		LeastPrivileged:  l.boolean("falco.leastPrivileged"),
		AllowedProcesses: l.absolutePaths("falco.allowedProcesses"),
		ExtraRules:       l.ruleFiles("falco.extraRules"),
		FileOutput:       l.raw("falco.fileOutput"),
		SyslogOutput:     l.boolean("falco.syslogOutput"),
		Metrics:          l.boolean("falco.metrics"),
		ServiceMonitor:   l.boolean("falco.serviceMonitor"),
		Dashboard:        l.boolean("falco.dashboard"),
		Values:           l.values(FalcoValuesKey, chart.Chart),
	}
	// Its directory of the node is mounted into Falco's pod, where it must hide nothing.
	if f.FileOutput != "" && (!ValidPath(f.FileOutput) || !strings.HasPrefix(f.FileOutput, "/var/log/")) {
		l.problem("falco.fileOutput", f.FileOutput, "must be the absolute path of a file below /var/log, or empty for none")
	}
	for _, r := range []struct {
		key            string
		request, limit float64
	}{
		{"falco.requests.cpu", quantity(f.Requests.CPU), quantity(f.Limits.CPU)},
		{"falco.requests.memory", quantity(f.Requests.Memory), quantity(f.Limits.Memory)},
	} {
		if r.request > r.limit && r.limit > 0 {
			l.problem(r.key, l.raw(r.key), "must not exceed "+strings.Replace(r.key, "requests", "limits", 1)+", which is "+l.raw(strings.Replace(r.key, "requests", "limits", 1)))
		}
	}
	if f.ServiceMonitor && !f.Metrics {
		l.problem("falco.serviceMonitor", "true", "needs falco.metrics true: there would be nothing to scrape")
	}
	return f
}

// quantity is the amount of a Kubernetes quantity that cpuQuantity or memoryQuantity matches; 0 for any other text.
func quantity(v string) float64 {
	units := []struct {
		suffix string
		factor float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}}
	for _, u := range units {
		if number, ok := strings.CutSuffix(v, u.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return 0
			}
			return n * u.factor
		}
	}
	return 0
}

func (l *loader) sidekick() Falcosidekick {
	chart := l.chart("falcosidekick.chartVersion", charts.FalcosidekickName)
	k := Falcosidekick{
		Chart:   chart,
		Outputs: l.outputs(chart),
		Values:  l.values(FalcosidekickValuesKey, chart),
		UI: UI{
			Enabled: l.boolean("falcosidekick.ui.enabled"),
			User:    l.matching("falcosidekick.ui.user", userName, "a user name without spaces and colons"),
		},
	}
	if k.UI.Enabled && !l.isSet(UIPasswordKey) {
		l.problem(UIPasswordKey, "", "is required when the UI is on (there is no default password); set it with: pulumi config set --secret "+Project+":"+UIPasswordKey)
	}
	return k
}

func (l *loader) hosts() Hosts {
	h := Hosts{
		AlertFile:  l.raw("hosts.alertFile"),
		RotateMB:   l.integer("hosts.rotateMB", 1, MaxRotateMB, fmt.Sprintf("a whole number of MB from 1 to %d", MaxRotateMB)),
		RotateKeep: l.integer("hosts.rotateKeep", 1, MaxRotateKeep, fmt.Sprintf("a whole number from 1 to %d", MaxRotateKeep)),
		Syslog:     l.boolean("hosts.syslog"),
		HTTPOutput: l.matching("hosts.httpOutput", httpURL, "a URL such as http://falcosidekick.example.org:2801, without user, password and query: they would be readable on every host"),
	}
	if h.AlertFile != "" && !ValidPath(h.AlertFile) {
		l.problem("hosts.alertFile", h.AlertFile, "must be an absolute path, or empty for none")
	}
	var raws []json.RawMessage
	if err := json.Unmarshal([]byte(l.raw("hosts.list")), &raws); err != nil {
		l.problem("hosts.list", l.raw("hosts.list"), "must be a list of objects")
		return h
	}
	remote := false
	for i, raw := range raws {
		var host Host
		if l.decodeObject(fmt.Sprintf("hosts.list[%d]", i), raw, &host) {
			h.List = append(h.List, host)
			remote = remote || !host.Local
		}
	}
	if remote && !l.isSet(HostKeysKey) {
		l.problem(HostKeysKey, "", "is required when there are hosts that are not local; set it with: pulumi config set --secret "+Project+":"+HostKeysKey)
	}
	return h
}

// together checks what no single setting can tell.
func (l *loader) together(s *Settings) {
	if s.SPIRE.Install && s.EnableFalco && s.SPIRE.Namespace == s.Falco.Namespace {
		l.problem("falco.namespace", s.Falco.Namespace, "must differ from spire.namespace: the rules treat the two differently")
	}
	if s.Cluster.Mode == ModeMinikube && !s.SPIRE.Install {
		l.problem("spire.mode", ModeExisting, "must be install with cluster.mode minikube: a new cluster has no SPIRE")
	}
	for i, w := range s.Workloads {
		if w.Image == "" && s.Cluster.Mode == ModeExisting && s.ImageRepository == "" {
			l.problem("image.repository", "", fmt.Sprintf("is required with cluster.mode existing, since workloads[%d] (%s) runs the project's own image and an existing cluster must be able to pull it; or give the workload an image", i, w.Name))
		}
		if w.Namespace == s.SPIRE.Namespace || (s.EnableFalco && w.Namespace == s.Falco.Namespace) {
			l.problem(fmt.Sprintf("workloads[%d].namespace", i), w.Namespace, "must differ from spire.namespace and falco.namespace")
		}
	}
}

// strictJSON decodes v and refuses keys that the target does not have.
func strictJSON(v string, target any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(v)))
	d.DisallowUnknownFields()
	return d.Decode(target)
}
