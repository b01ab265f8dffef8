package rules

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// chartSocketDir is the directory in which the SPIRE chart's agent binds its socket in its pod, wherever that is on the node.
const chartSocketDir = "/tmp/spire-agent/public"

// settingsFile is the name of the generated file. It sorts after the static file: an override comes after what it overrides.
const settingsFile = "spire-mtls-settings.yaml"

// Rendered is what one deployment loads.
type Rendered struct {
	// BeforeStock are our files, the static ones and the generated one, in load order. They load before the stock rules:
	// of two rules that match an event Falco, by default, fires the one loaded first.
	BeforeStock []File
	// AfterStock are the user's files, in load order. They load last, since they may build on ours and on the stock rules.
	AfterStock []File
	// Hash is the SHA-256 of names and contents in load order, in hexadecimal.
	Hash string
	// Rules of ours, in load order.
	Rules []Summary
	// Falco is the release that the files were checked for.
	Falco falco.Version
	// Set is what was checked: ours, placeholders for the stock rules where the user has files, and the user's.
	Set *ruleset.Ruleset
}

// Summary is what a list of rules shows of one.
type Summary struct {
	// Name of the rule.
	Name string
	// Priority in Falco's spelling, such as CRITICAL.
	Priority string
	// Description in one paragraph.
	Description string
	// File that the rule is in.
	File string
	// Tags, with MITRE ATT&CK tactics and techniques.
	Tags []string
}

// Files returns all files in load order, without the stock rules.
func (r *Rendered) Files() []File { return slices.Concat(r.BeforeStock, r.AfterStock) }

// Data returns the files by name, as the data of a ConfigMap.
func (r *Rendered) Data() map[string]string {
	data := map[string]string{}
	for _, f := range r.Files() {
		data[f.Name] = f.Content
	}
	return data
}

// RulesFiles returns Falco's rules_files for the files mounted at falco.RulesDir.
func (r *Rendered) RulesFiles() []string {
	return slices.Concat(mounted(r.BeforeStock), []string{falco.StockRulesFile, falco.LocalRulesFile}, mounted(r.AfterStock))
}

func mounted(files []File) []string {
	var list []string
	for _, f := range files {
		list = append(list, path.Join(falco.RulesDir, f.Name))
	}
	return list
}

// Names lists the names of files, in their order.
func Names(files []File) []string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return names
}

// Hash is the SHA-256 of the names and contents of files in load order, in hexadecimal.
func Hash(files []File) string {
	sum := sha256.New()
	for _, f := range files {
		// Lengths keep two sets apart whose names and contents run together alike.
		sum.Write(fmt.Appendf(nil, "%d:%s%d:%s", len(f.Name), f.Name, len(f.Content), f.Content))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// DefaultInputs describe what the static files describe: mtls-server in namespace mtls on 8443, inbound only, and its mtls-client.
func DefaultInputs() Inputs {
	return Inputs{
		FalcoVersion:    "0.40.0",
		AgentSocketPath: "/tmp/spire-agent/public/api.sock",
		SPIRENamespaces: []string{"spire", "spire-server", "spire-system"},
		Workloads: []config.Workload{
			{
				Name: "mtls-server", Namespace: "mtls", Port: 8443, Peers: []string{"mtls-client"},
				Executable: "/mtls-server", Health: []string{"/mtls-server", "health"},
			},
			{Name: "mtls-client", Namespace: "mtls", Executable: "/mtls-client"},
		},
	}
}

// Render joins the generated file to the static ones and checks the whole as Falco would. An error names the setting, or
// file, line and column.
func Render(in Inputs) (*Rendered, error) {
	static := Static()
	var documents []document
	var summaries []Summary
	for _, f := range static {
		docs, err := parse(f)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if d.Rule != "" {
				summaries = append(summaries, Summary{Name: d.Rule, Priority: d.Priority, Description: strings.TrimSpace(d.Desc), File: f.Name, Tags: d.Tags})
			}
		}
		documents = append(documents, docs...)
	}
	settings, err := overrides(in, documents)
	if err != nil {
		return nil, err
	}
	own := append(static, settings)
	release, err := falco.Lookup(in.FalcoVersion)
	if err != nil {
		return nil, fmt.Errorf("settings of the rules: %w", err)
	}
	extra, err := inUTF8(in.ExtraFiles)
	if err != nil {
		return nil, err
	}
	set, err := check(own, extra, release)
	if err != nil {
		return nil, err
	}
	r := &Rendered{BeforeStock: own, AfterStock: extra, Rules: summaries, Falco: release, Set: set}
	r.Hash = Hash(r.Files())
	return r, nil
}

// document is one list, macro or rule of a static file, as far as the generated file takes from it.
type document struct {
	Macro      string      `yaml:"macro"`
	Rule       string      `yaml:"rule"`
	Desc       string      `yaml:"desc"`
	Condition  string      `yaml:"condition"`
	Output     string      `yaml:"output"`
	Priority   string      `yaml:"priority"`
	Tags       []string    `yaml:"tags"`
	Exceptions []exception `yaml:"exceptions"`
}

type exception struct {
	Name   string   `yaml:"name"`
	Fields []string `yaml:"fields,flow"`
	Comps  []string `yaml:"comps,flow"`
	Values []tuple  `yaml:"values"` // Falco's schema wants the key even when it is empty
}

// tuple is one row of an exception's values; an element is a scalar or a list of them.
type tuple []any

// MarshalYAML writes a tuple on one line.
func (t tuple) MarshalYAML() (any, error) {
	var n yaml.Node
	if err := n.Encode([]any(t)); err != nil {
		return nil, fmt.Errorf("encode a row of exception values: %w", err)
	}
	n.Style = yaml.FlowStyle
	return &n, nil
}

func parse(f File) ([]document, error) {
	var docs []document
	if err := yaml.Unmarshal([]byte(f.Content), &docs); err != nil {
		return nil, fmt.Errorf("parse rule file %s: %w", f.Name, err)
	}
	return docs, nil
}

// override is one entry of the generated file.
type override struct {
	List       string            `yaml:"list,omitempty"`
	Macro      string            `yaml:"macro,omitempty"`
	Rule       string            `yaml:"rule,omitempty"`
	Items      any               `yaml:"items,flow,omitempty"`
	Condition  string            `yaml:"condition,omitempty"`
	Output     string            `yaml:"output,omitempty"`
	Exceptions []exception       `yaml:"exceptions,omitempty"`
	Override   map[string]string `yaml:"override"`
}

func listOverride(name string, items []string) override {
	return override{List: name, Items: items, Override: map[string]string{"items": "replace"}}
}

func macroOverride(name, condition string) override {
	return override{Macro: name, Condition: condition, Override: map[string]string{"condition": "replace"}}
}

// overrides renders the generated file.
func overrides(in Inputs, documents []document) (File, error) {
	workloads, err := in.workloads()
	if err != nil {
		return File{}, err
	}
	socketDir := path.Dir(in.AgentSocketPath)
	// A parent of the directory may be mounted anywhere, so only its last two names are sure.
	dir := path.Join("/", path.Base(path.Dir(socketDir)), path.Base(socketDir))
	parent := path.Dir(socketDir)
	base := path.Base(in.AgentSocketPath)
	dirs := socketDirs(in, dir)
	containsAny := func(field string) []string {
		terms := make([]string, 0, len(dirs))
		for _, d := range dirs {
			terms = append(terms, fmt.Sprintf("%s contains %s", field, quote(d+"/")))
		}
		return terms
	}

	out := []override{
		listOverride("spire_mtls_spire_namespaces", quoted(in.SPIRENamespaces)),
		macroOverride("spire_mtls_workload", or(workloadTerms(workloads))),
		macroOverride("spire_mtls_connected_to_agent", or(prefixed("fd.name endswith ", quoted(unique([]string{
			" " + in.AgentSocketPath, " " + path.Join(chartSocketDir, base),
		}))))),
		macroOverride("spire_mtls_fd_names_socket", or(containsAny("evt.arg.fd"))),
		macroOverride("spire_mtls_addr_names_socket", or(containsAny("evt.arg.addr"))),
		macroOverride("spire_mtls_opened_socket", or(append(containsAny("fd.name"),
			fmt.Sprintf("(evt.res = ENXIO and fd.name endswith %s)", quote("/"+base))))),
		macroOverride("spire_mtls_workload_starting", starting(workloads)),
		macroOverride("spire_mtls_args_name_socket_dir", or(prefixed("evt.args contains ", quoted([]string{dir, "/" + base})))),
		macroOverride("spire_mtls_socket_parent_moved", fmt.Sprintf(
			"(evt.type in (rename, renameat, renameat2) and (evt.arg.oldpath endswith %[1]s or evt.arg.newpath endswith %[1]s))", quote(parent))),
		macroOverride("spire_mtls_socket_dir_mounted_over", fmt.Sprintf(
			"(evt.type = mount and (evt.arg.dir contains %s or evt.arg.dir endswith %s) and not spire_mtls_runtime)", quote(dir), quote(parent))),
		macroOverride("spire_mtls_command_names_socket_dir", fmt.Sprintf("(evt.type = fchmodat2 and proc.args contains %s)", quote(dir))),
		listOverride("spire_mtls_traced_processes", quoted(tracedProcesses(workloads))),
	}
	if allowed := unique(in.AllowedSocketProcesses); len(allowed) > 0 {
		out = append(out, override{
			List: "spire_mtls_allowed_on_node", Items: quoted(allowed), Override: map[string]string{"items": "append"},
		})
	}
	values := exceptionValues(in.AllowedSocketProcesses, workloads)
	ruleNames := slices.Sorted(maps.Keys(values))
	for _, name := range ruleNames {
		i := slices.IndexFunc(documents, func(d document) bool { return d.Rule == name })
		if i < 0 {
			return File{}, fmt.Errorf("render %s: no rule %q in the static files", settingsFile, name)
		}
		exceptions, err := withValues(documents[i].Exceptions, values[name])
		if err != nil {
			return File{}, fmt.Errorf("render %s: rule %q: %w", settingsFile, name, err)
		}
		o := override{Rule: name, Exceptions: exceptions, Override: map[string]string{"exceptions": "replace"}}
		if name == portRule {
			o.Output = strings.ReplaceAll(strings.TrimSpace(documents[i].Output), "expected=8443", "expected="+expectedPorts(workloads))
			o.Override["output"] = "replace"
		}
		out = append(out, o)
	}

	var b bytes.Buffer
	b.WriteString("# Generated from the settings. Not to be edited: change the settings instead.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(out); err != nil {
		return File{}, fmt.Errorf("render %s: %w", settingsFile, err)
	}
	if err := enc.Close(); err != nil {
		return File{}, fmt.Errorf("render %s: %w", settingsFile, err)
	}
	return File{Name: settingsFile, Content: b.String()}, nil
}

// Names of the rules whose exceptions or output the settings change.
const (
	socketRule    = "Unauthorized Access to SPIRE Socket"
	shellRule     = "Unexpected Shell Spawned in mTLS Container"
	childRule     = "Unexpected Child Process in mTLS Container"
	portRule      = "Unexpected Network Port Binding"
	egressRule    = "Outbound Connection from mTLS Server"
	certificateRl = "Certificate File Modification"
)

// exceptionValues returns the rows that the settings give to exceptions, by rule and exception. A named exception without rows loses
// the rows it has in the static file; an exception not named keeps them.
func exceptionValues(allowedProcesses []string, workloads []workload) map[string]map[string][]row {
	var sockets, starts, health, children, ports, egress, anywhere, directories, allowed []row
	for _, g := range groups(workloads) {
		ns, containers, images := quote(g.namespace), quoted(g.containers), quoted(g.repositories)
		add := func(rows *[]row, values ...any) { *rows = append(*rows, row{tuple(values), g.digest}) }
		exes := quoted(g.executables)
		add(&sockets, ns, containers, images, exes, false)
		add(&starts, ns, containers, images, exes, 1, false)
		if len(g.children) > 0 {
			add(&children, ns, containers, images, quoted(g.children), false)
		}
		for _, w := range g.workloads {
			name, repository := quote(w.Name), quote(w.repository)
			if len(w.Health) > 0 {
				add(&health, ns, name, repository, quote(w.Health[0]), quote(strings.Join(w.Health[1:], " ")), false)
			}
			for _, d := range w.CertificateDirs {
				add(&directories, ns, name, name, repository, quote(w.Executable), false, quote(d+"/"))
			}
		}
		// Whoever may start a pod in the namespace may give it any label, so each label goes with each program.
		programs := quoted(unique(slices.Concat(g.executables, g.children)))
		for _, w := range workloads {
			if w.Namespace != g.namespace {
				continue
			}
			label := quote(w.Name)
			if w.Port != 0 {
				add(&ports, ns, label, w.Port, containers, images, exes, false)
			}
			for _, d := range w.destinations {
				if d.prefix.IsValid() {
					add(&egress, ns, label, []string{d.prefix.String()}, d.port, d.protocol, containers, images, programs, false)
				} else {
					add(&anywhere, ns, label, d.port, d.protocol, containers, images, programs, false)
				}
			}
		}
	}
	if len(allowedProcesses) > 0 {
		allowed = []row{{tuple: tuple{quoted(unique(allowedProcesses)), false}}}
	}
	programs := map[string][]row{"workload_programs": starts, "workload_health": health, "workload_children": children}
	return map[string]map[string][]row{
		socketRule:    {"workloads": sockets, "allowed_processes": allowed},
		shellRule:     programs,
		childRule:     programs,
		portRule:      {"workload_ports": ports},
		egressRule:    {"workload_egress": egress, "workload_egress_anywhere": anywhere},
		certificateRl: {"workload_directories": directories},
	}
}

// row is one row of an exception, for images of one digest if there is one.
type row struct {
	tuple  tuple
	digest string
}

// byDigest is what the name of an exception ends with whose rows hold images to their digests.
const byDigest = "_by_digest"

// withValues gives the rows to the exceptions. Falco knows a digest only of an image that was pulled, so those that ask for one are apart.
func withValues(exceptions []exception, values map[string][]row) ([]exception, error) {
	var out []exception
	found := 0
	for _, e := range exceptions {
		rows, ok := values[e.Name]
		if !ok {
			out = append(out, e)
			continue
		}
		found++
		plain, pinned := e, e
		plain.Values, pinned.Values = []tuple{}, nil
		for _, r := range rows {
			if r.digest == "" {
				plain.Values = append(plain.Values, r.tuple)
			} else {
				pinned.Values = append(pinned.Values, append(slices.Clone(r.tuple), quote(r.digest)))
			}
		}
		out = append(out, plain)
		if len(pinned.Values) > 0 {
			pinned.Name += byDigest
			pinned.Fields = append(slices.Clone(e.Fields), "container.image.digest")
			pinned.Comps = append(slices.Clone(e.Comps), "=")
			out = append(out, pinned)
		}
	}
	if found != len(values) {
		return nil, fmt.Errorf("not every exception of %s is in the static files", strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
	for i := range out {
		if out[i].Values == nil {
			out[i].Values = []tuple{}
		}
	}
	return out, nil
}

// socketDirs returns the directories, by their last names, in which processes see the agent's socket.
func socketDirs(in Inputs, agent string) []string {
	dirs := []string{agent}
	for _, w := range in.Workloads {
		dirs = append(dirs, path.Dir(cmp.Or(w.SocketPath, config.DefaultWorkloadSocketPath)))
	}
	return unique(dirs)
}

func workloadTerms(ws []workload) []string {
	var terms []string
	for _, ns := range namespaces(ws) {
		var labels []string
		for _, w := range ws {
			if w.Namespace == ns {
				labels = append(labels, quote(w.Name))
			}
		}
		terms = append(terms, fmt.Sprintf("(k8s.ns.name = %s and k8s.pod.label[app] in (%s))", quote(ns), strings.Join(labels, ", ")))
	}
	return terms
}

func starting(ws []workload) string {
	if len(ws) == 0 {
		return never
	}
	var exes, images []string
	for _, w := range ws {
		exes, images = append(exes, w.Executable), append(images, w.repository)
	}
	return fmt.Sprintf("(container.id != host and not k8s.ns.name exists and proc.is_exe_upper_layer = false and proc.vpid = 1 and "+
		"proc.exepath in (%s) and not proc.duration > 60000000000 and "+
		`(not container.image.repository contains "/" or container.image.repository in (%s)))`,
		strings.Join(quoted(unique(exes)), ", "), strings.Join(quoted(unique(images)), ", "))
}

// tracedProcesses returns process names as the kernel keeps them: SPIRE's and the workloads'.
func tracedProcesses(ws []workload) []string {
	const taskNameLength = 15 // TASK_COMM_LEN in Linux, less the final zero
	names := []string{"spire-agent", "spire-server"}
	for _, w := range ws {
		name := path.Base(w.Executable)
		names = append(names, name[:min(len(name), taskNameLength)])
	}
	return unique(names)
}

func expectedPorts(ws []workload) string {
	var all, named []string
	for _, w := range ws {
		if w.Port != 0 {
			all = append(all, strconv.Itoa(w.Port))
			named = append(named, fmt.Sprintf("%s/%s:%d", w.Namespace, w.Name, w.Port))
		}
	}
	switch all = unique(all); len(all) {
	case 0:
		return "none"
	case 1:
		return all[0]
	default:
		return strings.Join(named, ",")
	}
}

// never is what no event matches.
const never = "(evt.num = 0)"

func or(terms []string) string {
	switch {
	case len(terms) == 0:
		return never
	case len(terms) == 1 && strings.HasPrefix(terms[0], "("):
		return terms[0]
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// quote makes a condition's string; the validated settings hold neither quotes nor backslashes. Falco would take a bare word that is the
// name of some list, a stock one or the user's, for that list.
func quote(s string) string { return `"` + s + `"` }

func quoted(items []string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = quote(item)
	}
	return out
}

func namespaces(ws []workload) []string {
	var names []string
	for _, w := range ws {
		names = append(names, w.Namespace)
	}
	return unique(names)
}

// group are the workloads of one namespace whose images have one digest, or none. Their programs are allowed to each other: whoever may
// start a pod in the namespace may give it any label.
type group struct {
	namespace, digest                               string
	workloads                                       []workload
	containers, repositories, executables, children []string
}

func groups(ws []workload) []group {
	var out []group
	for _, w := range ws {
		i := slices.IndexFunc(out, func(g group) bool { return g.namespace == w.Namespace && g.digest == w.digest })
		if i < 0 {
			i = len(out)
			out = append(out, group{namespace: w.Namespace, digest: w.digest})
		}
		g := &out[i]
		g.workloads = append(g.workloads, w)
		g.containers = unique(append(g.containers, w.Name))
		g.repositories = unique(append(g.repositories, w.repository))
		g.executables = unique(append(g.executables, w.Executable))
		g.children = unique(append(g.children, w.Children...))
	}
	return out
}

func prefixed(prefix string, items []string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = prefix + item
	}
	return out
}

// unique returns the items without repeats, in their order.
func unique(items []string) []string {
	seen := make(map[string]bool, len(items))
	var out []string
	for _, item := range items {
		if !seen[item] {
			seen[item] = true
			out = append(out, item)
		}
	}
	return out
}

// fedBy says which settings make a macro, a list or an exception of the static file, in terms of [Inputs].
var fedBy = map[string][]string{
	"spire_mtls_workload":             {"Workloads.Namespace", "Workloads.Name"},
	"spire_mtls_spire_namespaces":     {"SPIRENamespaces"},
	"spire_mtls_connected_to_agent":   {"AgentSocketPath"},
	"spire_mtls_fd_names_socket":      {"AgentSocketPath", "Workloads.SocketPath"},
	"spire_mtls_addr_names_socket":    {"AgentSocketPath", "Workloads.SocketPath"},
	"spire_mtls_opened_socket":        {"AgentSocketPath", "Workloads.SocketPath"},
	"spire_mtls_workload_starting":    {"Workloads.Executable", "Workloads.Image"},
	"spire_mtls_args_name_socket_dir": {"AgentSocketPath"},
	"spire_mtls_traced_processes":     {"Workloads.Executable"},
	"spire_mtls_allowed_on_node":      {"AllowedSocketProcesses"},
	"workloads":                       {"Workloads.Namespace", "Workloads.Name", "Workloads.Image", "Workloads.Executable"},
	"allowed_processes":               {"AllowedSocketProcesses"},
	"workload_programs":               {"Workloads.Namespace", "Workloads.Name", "Workloads.Image", "Workloads.Executable"},
	"workload_health":                 {"Workloads.Namespace", "Workloads.Name", "Workloads.Image", "Workloads.Health"},
	"workload_children":               {"Workloads.Namespace", "Workloads.Name", "Workloads.Image", "Workloads.Children"},
	"workload_ports": {
		"Workloads.Namespace", "Workloads.Name", "Workloads.Port", "Workloads.Image", "Workloads.Executable",
	},
	"workload_egress": {
		"Workloads.Namespace", "Workloads.Name", "Workloads.Egress", "Workloads.Peers", "Workloads.Image", "Workloads.Executable", "Workloads.Children",
	},
	"workload_egress_anywhere": {
		"Workloads.Namespace", "Workloads.Name", "Workloads.Egress", "Workloads.Peers", "Workloads.Image", "Workloads.Executable", "Workloads.Children",
	},
	"workload_directories": {
		"Workloads.Namespace", "Workloads.Name", "Workloads.Image", "Workloads.Executable", "Workloads.CertificateDirs",
	},
}

// SettingsOf returns the fields of [Inputs] that a rule of ours depends on, sorted; none for any other rule.
func SettingsOf(r ruleset.Rule) []string {
	var out []string
	for _, name := range slices.Concat(r.Macros, r.Lists, r.Exceptions) {
		out = append(out, fedBy[name]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
