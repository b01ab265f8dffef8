package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// falcoOptions are the options of Falco that the stand-in has.
type falcoOptions struct {
	config          string
	rules, validate []string
	set             []string
	dryRun          bool
}

// falcoRun is one run with what it has loaded.
type falcoRun struct {
	config map[string]any
	// configSums and rulesSums are digests of what was read, by base name: a file that changes later is not loaded.
	configSums, rulesSums map[string]string
	open                  atomic.Bool
}

func falco(args []string) error {
	o := falcoOptions{config: "/etc/falco/falco.yaml"}
	for i := 0; i < len(args); i++ {
		value := func() string {
			i++
			if i == len(args) {
				fmt.Fprintf(os.Stderr, "Error: Option '%s' is missing an argument\n", args[i-1])
				os.Exit(1)
			}
			return args[i]
		}
		switch args[i] {
		case "--version":
			fmt.Printf("Falco version: %s\n", falcoVersion())
			return nil
		case "-c":
			o.config = value()
		case "-r":
			o.rules = append(o.rules, value())
		case "-V", "--validate":
			o.validate = append(o.validate, value())
		case "-o":
			o.set = append(o.set, value())
		case "--dry-run":
			o.dryRun = true
		default:
			return fmt.Errorf("Error: Option '%s' does not exist", args[i]) //nolint:staticcheck // Falco's own words
		}
	}
	if err := runFalco(o); err != nil {
		return fmt.Errorf("Error: %w", err) //nolint:staticcheck // Falco's own words
	}
	return nil
}

func falcoVersion() string {
	v, _ := os.ReadFile("/usr/share/falco/standin-version")
	return strings.TrimSpace(string(v))
}

func runFalco(o falcoOptions) error {
	r := &falcoRun{configSums: map[string]string{}, rulesSums: map[string]string{}}
	if err := r.loadConfig(o); err != nil {
		return err
	}
	var names rulesNames
	if len(o.validate) > 0 {
		var failed error
		for _, file := range o.validate {
			if err := names.load(file); err != nil {
				failed = errors.Join(failed, err)
				fmt.Println(err)
			} else {
				fmt.Printf("%s: Ok\n", file)
			}
		}
		return failed
	}
	files := o.rules
	if len(files) == 0 {
		for _, f := range list(r.config["rules_files"]) {
			if onDisk(f) {
				files = append(files, f)
			}
		}
	}
	fmt.Fprintln(os.Stderr, "Loading rules from:")
	for _, f := range files {
		for _, file := range expand(f) {
			fmt.Fprintf(os.Stderr, "   %s | schema validation: ok\n", file)
			if err := names.load(file); err != nil {
				return err
			}
			r.rulesSums[filepath.Base(file)] = sum(file)
		}
	}
	outputs := 0
	for _, output := range []string{"stdout_output", "syslog_output", "file_output", "http_output"} {
		if r.get(output, "enabled") == true {
			outputs++
		}
	}
	if outputs == 0 {
		return errors.New("No output configured, please make sure at least one output is configured and enabled.") //nolint:staticcheck // Falco's own words
	}
	if o.dryRun {
		return nil
	}
	return r.serve()
}

// loadConfig merges whole top-level keys, the files of config.d after falco.yaml; since 0.41 lists are added to.
func (r *falcoRun) loadConfig(o falcoOptions) error {
	r.config = map[string]any{}
	merge := func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("Cannot read config file (%s): %w", file, err) //nolint:staticcheck // Falco's own words
		}
		var c map[string]any
		if err := yaml.Unmarshal(content, &c); err != nil {
			return fmt.Errorf("Cannot read config file (%s): %w", file, err) //nolint:staticcheck // Falco's own words
		}
		for k, v := range c {
			if added, isList := v.([]any); isList && falcoVersion() >= "0.41" {
				former, _ := r.config[k].([]any)
				v = append(slices.Clip(former), added...)
			}
			r.config[k] = v
		}
		return nil
	}
	if err := merge(o.config); err != nil {
		return err
	}
	r.configSums[filepath.Base(o.config)] = sum(o.config) // of config.d it reports nothing
	if falcoVersion() < "0.41" {
		r.set(o.set)
	}
	for _, dir := range list(r.config["config_files"]) {
		for _, file := range expand(dir) {
			if !onDisk(file) {
				continue
			}
			if err := merge(file); err != nil {
				return err
			}
		}
	}
	if falcoVersion() >= "0.41" {
		r.set(o.set)
	}
	if kind := r.get("engine", "kind"); kind != "modern_ebpf" {
		return fmt.Errorf("Error reading config file (%s): engine.kind '%v' is not a valid kind.", o.config, kind) //nolint:staticcheck // Falco's own words
	}
	return nil
}

// set applies options of the command line: before config.d on 0.40, which then replaces them, and after it since 0.41.
func (r *falcoRun) set(options []string) {
	for _, set := range options {
		key, value, _ := strings.Cut(set, "=")
		top, sub, nested := strings.Cut(key, ".")
		if !nested {
			r.config[top] = value
			continue
		}
		m, _ := r.config[top].(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		m[sub] = value
		r.config[top] = m
	}
}

func (r *falcoRun) get(top, sub string) any {
	m, _ := r.config[top].(map[string]any)
	return m[sub]
}

func list(v any) []string {
	var out []string
	items, _ := v.([]any)
	for _, i := range items {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// expand opens a folder into its regular files, in order of their names.
func expand(path string) []string {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}
	}
	entries, _ := os.ReadDir(path)
	var files []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(path, e.Name())); err == nil && info.Mode().IsRegular() {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files
}

// rulesNames is what the rule files loaded so far define.
type rulesNames struct{ macros, lists, rules []string }

var (
	operandSeparators = regexp.MustCompile(`\band\b|\bor\b|\bnot\b|[()]`)
	bareName          = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	inList            = regexp.MustCompile(`\((?:[^()]*)\)`)
)

// load checks one rule file as far as the tests need: YAML, the items and their keys, and macros that are not defined.
func (n *rulesNames) load(file string) error {
	invalid := func(line int, code, what string) error {
		return fmt.Errorf("%s: Invalid\n1 Errors:\nIn rules content: (%s:%d:0)\n------\n%s (%s)", file, file, line, code, what)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("Could not read rules file: %s", file) //nolint:staticcheck // Falco's own words
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return invalid(0, "LOAD_ERR_YAML_PARSE", err.Error())
	}
	if doc.Kind == 0 {
		return nil
	}
	if doc.Content[0].Kind != yaml.SequenceNode {
		return invalid(1, "LOAD_ERR_YAML_VALIDATE", "Rules content is not yaml array of objects")
	}
	for _, item := range doc.Content[0].Content {
		var m map[string]any
		if err := item.Decode(&m); err != nil {
			return invalid(item.Line, "LOAD_ERR_YAML_VALIDATE", "Unexpected element type")
		}
		_, override := m["override"]
		switch {
		case m["macro"] != nil:
			if m["condition"] == nil {
				return invalid(item.Line, "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'condition'")
			}
			n.macros = append(n.macros, fmt.Sprint(m["macro"]))
		case m["list"] != nil:
			if override && !slices.Contains(n.lists, fmt.Sprint(m["list"])) {
				return invalid(item.Line, "LOAD_ERR_VALIDATE", "List has 'append' key or an append override but no list by that name already exists")
			}
			n.lists = append(n.lists, fmt.Sprint(m["list"]))
		case m["rule"] != nil:
			if !override {
				for _, key := range []string{"condition", "output", "desc", "priority"} {
					if m[key] == nil {
						return invalid(item.Line, "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key '"+key+"'")
					}
				}
			}
			for _, operand := range operandSeparators.Split(inList.ReplaceAllString(fmt.Sprint(m["condition"]), ""), -1) {
				operand = strings.TrimSpace(operand)
				if m["condition"] != nil && bareName.MatchString(operand) && !slices.Contains(n.macros, operand) {
					return invalid(item.Line, "LOAD_ERR_VALIDATE", "Undefined macro '"+operand+"' used in filter.")
				}
			}
			n.rules = append(n.rules, fmt.Sprint(m["rule"]))
		case m["required_engine_version"] != nil, m["required_plugin_versions"] != nil:
		default:
			return invalid(item.Line, "LOAD_ERR_YAML_VALIDATE", "Unknown top level item")
		}
	}
	return nil
}

// serve starts the webserver first and opens the probe after it, in the order of the real one.
func (r *falcoRun) serve() error {
	address := fmt.Sprintf("%v:%v", r.get("webserver", "listen_address"), r.get("webserver", "listen_port"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return errors.New("an error occurred while starting webserver")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status": "ok"}`) })
	if r.get("webserver", "prometheus_metrics_enabled") == true && r.get("metrics", "enabled") == true {
		mux.HandleFunc("/metrics", r.metrics)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()

	time.Sleep(200 * time.Millisecond)
	release, err := os.ReadFile(filepath.Join(settingsDir, "kernel"))
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil {
		return err
	}
	if major*1000+minor >= 6015 && falcoVersion() < "0.41" || onDisk(filepath.Join(settingsDir, "no-probe")) {
		return errors.New("libbpf: prog 'sys_enter': failed to resolve CO-RE relocation <byte_off> [kernfs_node.parent]")
	}
	r.open.Store(true)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	return nil
}

func (r *falcoRun) metrics(w http.ResponseWriter, _ *http.Request) {
	if r.open.Load() {
		fmt.Fprintln(w, `falcosecurity_scap_engine_name_info{engine_name="modern_bpf",evt_source="syscall"} 1`)
	}
	for kind, sums := range map[string]map[string]string{"rules": r.rulesSums, "config": r.configSums} {
		for name, digest := range sums {
			fmt.Fprintf(w, "falcosecurity_falco_sha256_%s_files_info{file_name=%q,sha256=%q} 1\n", kind, name, digest)
		}
	}
}

func sum(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}
