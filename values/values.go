// Package values makes the Helm values of each chart: a static .yaml file that a person can read and lint, and what the
// settings put on top of it. Values are plain Go values; no secret is ever among them.
package values

import (
	"embed"
	"fmt"
	"path"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/charts"
	"spire-falco/charts/contract"
	"spire-falco/config"
	"spire-falco/falco"
)

//go:embed *.yaml
var files embed.FS

// Map is Helm values, or a part of them.
type Map = map[string]any

// RulesHashAnnotation on Falco's pods carries the hash of the rules that they were deployed with.
const RulesHashAnnotation = "spire-falco/rules-hash"

// SecretHashAnnotation on Falcosidekick's pods carries the hash of the Secret that they read, so that a new one rolls them.
const SecretHashAnnotation = "spire-falco/secret-hash" //nolint:gosec // the name of an annotation, no credential

// SPIRE is the values of the chart spire in the version that the settings chose.
func SPIRE(s config.SPIRE) Map {
	v := load("spire.yaml")
	for _, part := range spireParts {
		version := s.Chart.Version
		if falco.CompareReleases(version, part.from) >= 0 && (part.below == "" || falco.CompareReleases(version, part.below) < 0) {
			merge(v, load(part.file))
		}
	}
	if tag := s.Chart.ImageTag; tag != "" {
		merge(v, Map{
			"spire-server": Map{"image": Map{"tag": tag}},
			"spire-agent":  Map{"image": Map{"tag": tag}},
		})
	}
	merge(v, Map{
		"global": Map{"spire": Map{"trustDomain": s.TrustDomain, "clusterName": s.ClusterName}},
		"spire-server": Map{
			"persistence": Map{"type": s.Persistence},
		},
		"spire-agent":       Map{"socketPath": s.AgentSocketPath},
		"spiffe-csi-driver": Map{"agentSocketPath": s.AgentSocketPath},
	})
	merge(v, s.Values)
	return v
}

// spireParts are values that some versions of the chart spire have, from a version on and below another.
var spireParts = []struct{ file, from, below string }{
	{file: "spire-spike-identities.yaml", from: "0.27.0", below: "0.30.0"},
	{file: "spire-spike-bootstrap.yaml", from: "0.28.0", below: "0.30.0"},
	{file: "spire-ha-agent.yaml", from: "0.29.0"},
	{file: "spire-identity-switches.yaml", from: "0.30.0"},
}

// SPIRECRDs is the values of the chart spire-crds, as YAML text: its null must reach Helm as null.
func SPIRECRDs() string {
	return string(read("spire-crds.yaml"))
}

// FalcoInputs is what Falco's values need besides the settings.
type FalcoInputs struct {
	// RulesConfigMap is the name of the ConfigMap with the rules.
	RulesConfigMap string
	// RulesFiles lists the rule files in the order in which Falco loads them.
	RulesFiles []string
	// RulesHash is the hash of the rules.
	RulesHash string
	// AlertURL is where alerts are posted.
	AlertURL string
	// Preflight is the shell script that a node must pass before Falco starts on it.
	Preflight string
}

// Falco is the values of the chart falco in the version that the settings chose.
func Falco(s config.Falco, in FalcoInputs) Map {
	v := load("falco.yaml")
	if s.Chart.Falco.ContainerPlugin != "" {
		merge(v, load("falco-container-plugin.yaml"))
		if major(s.Chart.Version) <= 5 {
			merge(v, load("falco-no-legacy-collectors.yaml"))
		}
	} else {
		merge(v, load("falco-collectors.yaml"))
	}
	falco := Map{
		"rules_files":   toAny(in.RulesFiles),
		"priority":      s.Priority,
		"http_output":   Map{"url": in.AlertURL},
		"syslog_output": Map{"enabled": s.SyslogOutput},
		"file_output":   Map{"enabled": s.FileOutput != ""},
	}
	if s.FileOutput != "" {
		falco["file_output"] = Map{"enabled": true, "filename": s.FileOutput, "keep_alive": false}
	}
	merge(v, Map{
		"driver": Map{
			"kind":       s.Driver,
			"modernEbpf": Map{"bufSizePreset": s.BufferPreset, "leastPrivileged": s.LeastPrivileged},
		},
		"podAnnotations": Map{RulesHashAnnotation: in.RulesHash},
		"resources": Map{
			"requests": Map{"cpu": s.Requests.CPU, "memory": s.Requests.Memory},
			"limits":   Map{"cpu": s.Limits.CPU, "memory": s.Limits.Memory},
		},
		"mounts":         mounts(s, in),
		"extra":          Map{"initContainers": []any{preflightContainer(s, in.Preflight)}},
		"metrics":        Map{"enabled": s.Metrics},
		"serviceMonitor": Map{"create": s.ServiceMonitor},
		"falco":          falco,
	})
	merge(v, s.Values)
	return v
}

// FalcoContract is what the objects of the chart must be when it gets the values of Falco.
func FalcoContract(s config.Falco, in FalcoInputs) contract.Want {
	want := contract.Want{
		Release:        config.FalcoRelease,
		Image:          FalcoImage(s.Chart),
		InitContainers: []string{checkNode},
		RulesFiles:     in.RulesFiles,
		RulesConfigMap: in.RulesConfigMap,
		AlertURL:       in.AlertURL,
	}
	if s.Chart.Falco.ContainerPlugin != "" {
		want.Plugins = []string{"container"}
	}
	return want
}

// mounts are the rules and, for syslog and the file, the node's socket and directory. A pod has neither /dev/log nor /var/log, and Falco
// starts all the same: it says "failed to open output file" at each alert.
func mounts(s config.Falco, in FalcoInputs) Map {
	volumes := []any{Map{"name": "spire-falco-rules", "configMap": Map{"name": in.RulesConfigMap}}}
	volumeMounts := []any{Map{"name": "spire-falco-rules", "mountPath": falco.RulesDir, "readOnly": true}}
	if s.SyslogOutput {
		volumes = append(volumes, Map{"name": "syslog", "hostPath": Map{"path": "/dev/log", "type": "Socket"}})
		volumeMounts = append(volumeMounts, Map{"name": "syslog", "mountPath": "/dev/log"})
	}
	if s.FileOutput != "" {
		dir := path.Dir(s.FileOutput)
		volumes = append(volumes, Map{"name": "alert-file", "hostPath": Map{"path": dir, "type": "DirectoryOrCreate"}})
		volumeMounts = append(volumeMounts, Map{"name": "alert-file", "mountPath": dir})
	}
	return Map{"volumes": volumes, "volumeMounts": volumeMounts}
}

// FalcoImage is the image that the Falco chart deploys; charts before 5 add -debian to the tag.
func FalcoImage(c charts.Falco) string {
	tag := c.AppVersion
	if major(c.Version) < 5 {
		tag += "-debian"
	}
	return "docker.io/falcosecurity/falco:" + tag
}

// major is the first number of a chart's version.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		panic(fmt.Sprintf("values: chart version %q: %v", version, err)) // the table of charts has none such
	}
	return n
}

// checkNode is the name of the container that preflightContainer makes.
const checkNode = "check-node"

// preflightContainer checks each node, also one that joins later, before Falco starts there: Falco itself would
// crash-loop with a message about its probe.
func preflightContainer(s config.Falco, script string) Map {
	return Map{
		"name":    checkNode,
		"image":   FalcoImage(s.Chart),
		"command": []any{"/bin/sh", "-c", script},
		"env": []any{
			Map{"name": "MIN_KERNEL", "value": s.Chart.Falco.MinKernel},
			Map{"name": "BELOW_KERNEL", "value": s.Chart.Falco.BelowKernel},
			Map{"name": "FALCO_VERSION", "value": s.Chart.AppVersion},
			Map{"name": "CHART_VERSION", "value": s.Chart.Version},
			Map{"name": "NEXT_CHART_VERSION", "value": charts.NewestFalco().Version},
		},
		"resources": Map{
			"requests": Map{"cpu": "10m", "memory": "16Mi"},
			"limits":   Map{"cpu": "100m", "memory": "64Mi"},
		},
		"securityContext": Map{
			"allowPrivilegeEscalation": false,
			"readOnlyRootFilesystem":   true,
			"capabilities":             Map{"drop": []any{"ALL"}},
		},
	}
}

// FalcosidekickInputs is what Falcosidekick's values need besides the settings.
type FalcosidekickInputs struct {
	// Secret is the name of the Secret with the outputs' secrets; empty when there are none.
	Secret string
	// SecretHash is a hash of its content that does not give the content away.
	SecretHash any
}

// Falcosidekick is the values of the chart falcosidekick.
func Falcosidekick(s config.Falcosidekick, in FalcosidekickInputs) Map {
	v := load("falcosidekick.yaml")
	cfg := Map{}
	if in.Secret != "" {
		cfg["existingSecret"] = in.Secret
	}
	for _, o := range s.Outputs {
		if o.Value != nil {
			put(cfg, strings.Split(o.Key, "."), o.Value)
		}
	}
	overlay := Map{"config": cfg, "webui": Map{"enabled": s.UI.Enabled}}
	if in.Secret != "" {
		overlay["podAnnotations"] = Map{SecretHashAnnotation: in.SecretHash}
	}
	if s.UI.Enabled {
		merge(overlay, Map{"webui": Map{"existingSecret": in.Secret, "podAnnotations": Map{SecretHashAnnotation: in.SecretHash}}})
	}
	merge(v, overlay)
	merge(v, s.Values)
	return v
}

// put sets a value in nested maps, which it makes.
func put(into Map, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		next, ok := into[path[0]].(Map)
		if !ok {
			next = Map{}
			into[path[0]] = next
		}
		into = next
	}
	into[path[0]] = value
}

// merge puts from on top of into: maps are merged, anything else is replaced.
func merge(into, from Map) {
	for k, v := range from {
		if m, ok := v.(Map); ok {
			if old, ok := into[k].(Map); ok {
				merge(old, m)
				continue
			}
			fresh := Map{} // of its own, all the way down
			merge(fresh, m)
			v = fresh
		}
		into[k] = v
	}
}

func toAny(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func load(name string) Map {
	var v Map
	if err := yaml.Unmarshal(read(name), &v); err != nil {
		panic(fmt.Sprintf("values: %s: %v", name, err)) // embedded at build time: a programming error
	}
	return v
}

func read(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("values: %v", err)) // embedded at build time: a programming error
	}
	return content
}
