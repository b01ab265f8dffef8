// Package contract says what the rendered objects of the chart of Falco must be for this stack to keep its promises:
// which rules Falco loads and in what order, what it watches with, and where its alerts go. It knows objects as plain
// maps, so that a chart can be held to it that this project never ran.
package contract

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/falco"
)

// containerdSocket is where the nodes of the stack have the socket of their container runtime.
const containerdSocket = "/run/containerd/containerd.sock"

// Want is what the settings asked for.
type Want struct {
	// Release is the name of the release.
	Release string
	// Image of Falco, with its tag.
	Image string
	// InitContainers lists the names of the containers that may run before Falco.
	InitContainers []string
	// RulesFiles lists the rule files in the order in which Falco must load them.
	RulesFiles []string
	// RulesConfigMap is the name of the ConfigMap with the rules.
	RulesConfigMap string
	// AlertURL is where alerts must be posted.
	AlertURL string
	// Plugins lists the plugins that Falco must load, and no others.
	Plugins []string
}

// Check returns every way in which the objects break the contract, joined; nil when they keep it.
func Check(objects []map[string]any, want Want) error {
	c := &check{want: want}
	daemonSet := c.workload(objects)
	c.configuration(objects)
	if daemonSet != nil {
		pod := dig(daemonSet, "spec", "template", "spec")
		c.containers(pod)
		c.rulesVolume(pod)
		c.sockets(pod)
	}
	return errors.Join(c.broken...)
}

type check struct {
	want   Want
	broken []error
}

func (c *check) fail(format string, args ...any) {
	c.broken = append(c.broken, fmt.Errorf(format, args...))
}

// workload finds the DaemonSet. Nothing else may run pods.
func (c *check) workload(objects []map[string]any) map[string]any {
	var found map[string]any
	for _, o := range objects {
		kind, name := text(o, "kind"), text(o, "metadata", "name")
		switch kind {
		case "DaemonSet":
			if name == c.want.Release && found == nil {
				found = o
				continue
			}
			c.fail("the chart makes another DaemonSet, %s", name)
		case "Deployment", "StatefulSet", "ReplicaSet", "Job", "CronJob", "Pod":
			c.fail("the chart makes the %s %s; only the DaemonSet %s may run pods", kind, name, c.want.Release)
		}
	}
	if found == nil {
		c.fail("the chart makes no DaemonSet %s", c.want.Release)
	}
	return found
}

// configuration checks falco.yaml, which must be the only ConfigMap of the chart: it brings no rules of its own.
func (c *check) configuration(objects []map[string]any) {
	config := ""
	for _, o := range objects {
		if text(o, "kind") != "ConfigMap" {
			continue
		}
		if name := text(o, "metadata", "name"); name != c.want.Release {
			c.fail("the chart makes the ConfigMap %s; only %s with falco.yaml is wanted", name, c.want.Release)
			continue
		}
		config = text(o, "data", "falco.yaml")
	}
	if config == "" {
		c.fail("the chart makes no falco.yaml in the ConfigMap %s", c.want.Release)
		return
	}
	var f map[string]any
	if err := yaml.Unmarshal([]byte(config), &f); err != nil {
		c.fail("falco.yaml cannot be read: %w", err)
		return
	}
	if _, ok := f["rules_file"]; ok {
		c.fail("falco.yaml has rules_file beside rules_files; Falco would not start")
	}
	c.same("rules_files", f["rules_files"], list(c.want.RulesFiles))
	if files, _ := f["config_files"].([]any); len(files) > 0 {
		c.fail("falco.yaml has config_files %v, which could overwrite what is set here", files)
	}
	plugins, _ := f["load_plugins"].([]any)
	c.same("load_plugins", append([]any{}, plugins...), list(c.want.Plugins))
	for _, item := range []struct {
		key  string
		want any
	}{
		{"engine.kind", "modern_ebpf"},
		{"rule_matching", "first"},
		{"json_output", true},
		{"http_output.enabled", true},
		{"http_output.url", c.want.AlertURL},
	} {
		c.same(item.key, dig(f, strings.Split(item.key, ".")...), item.want)
	}
}

func (c *check) same(key string, have, want any) {
	if !reflect.DeepEqual(have, want) {
		c.fail("falco.yaml has %s %v, and must have %v", key, have, want)
	}
}

// containers must be Falco and what the stack itself puts before it: no driver loader, no falcoctl.
func (c *check) containers(pod any) {
	names := []string{}
	for _, item := range items(pod, "containers") {
		names = append(names, text(item, "name"))
	}
	if !slices.Equal(names, []string{"falco"}) {
		c.fail("the pod has the containers %v, and must have falco alone", names)
	}
	for _, item := range items(pod, "initContainers") {
		if name := text(item, "name"); !slices.Contains(c.want.InitContainers, name) {
			c.fail("the pod has the init container %s, which this stack does not know", name)
		}
	}
	for _, item := range append(items(pod, "initContainers"), items(pod, "containers")...) {
		if image := text(item, "image"); image != c.want.Image {
			c.fail("the container %s has the image %s, and must have %s", text(item, "name"), image, c.want.Image)
		}
		if text(item, "imagePullPolicy") == "Always" {
			c.fail("the container %s pulls its image at every start", text(item, "name"))
		}
	}
}

// rulesVolume checks that the stack's rules are mounted where Falco loads them from, and that no mount hides them.
func (c *check) rulesVolume(pod any) {
	volumes := map[string]any{}
	for _, v := range items(pod, "volumes") {
		volumes[text(v, "name")] = v
	}
	mounted := 0
	for _, container := range append(items(pod, "initContainers"), items(pod, "containers")...) {
		own := text(container, "name") == "falco"
		for _, m := range items(container, "volumeMounts") {
			name, at := text(m, "name"), path.Clean(text(m, "mountPath"))
			if volumes[name] == nil {
				c.fail("the container %s mounts %s, which is no volume of the pod", text(container, "name"), name)
				continue
			}
			switch {
			case !own:
			case at == falco.RulesDir:
				mounted++
				if from := text(volumes[name], "configMap", "name"); from != c.want.RulesConfigMap {
					c.fail("%s is mounted from the ConfigMap %q, and must be from %q", at, from, c.want.RulesConfigMap)
				}
				if m, _ := m.(map[string]any); m["readOnly"] != true {
					c.fail("%s is mounted writable", at)
				}
			case within(falco.RulesDir, at), within(at, falco.RulesDir):
				c.fail("the mount %s at %s hides rules", name, at)
			}
		}
	}
	if mounted != 1 {
		c.fail("%s is mounted %d times, and must be once", falco.RulesDir, mounted)
	}
}

// within reports whether p lies in dir.
func within(p, dir string) bool {
	return strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// sockets checks that containerd is the one container runtime that Falco can ask, below /host as it expects.
func (c *check) sockets(pod any) {
	found := 0
	for _, v := range items(pod, "volumes") {
		host := path.Clean(text(v, "hostPath", "path"))
		if !within(host, "/run") && !within(host, "/var/run") {
			continue
		}
		found++
		if host != containerdSocket && !within(containerdSocket, host) {
			c.fail("the pod mounts %s of the node; only the socket %s is wanted", host, containerdSocket)
			continue
		}
		for _, container := range items(pod, "containers") {
			for _, m := range items(container, "volumeMounts") {
				if at := path.Clean(text(m, "mountPath")); text(m, "name") == text(v, "name") && at != "/host"+host {
					c.fail("%s of the node is mounted at %s, and must be at /host%s", host, at, host)
				}
			}
		}
	}
	if found != 1 {
		c.fail("the pod mounts %d sockets of container runtimes, and must mount that of containerd alone", found)
	}
}

// dig returns what stands at the path of keys; nil when nothing does.
func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// text is the text at the path of keys; empty when there is none.
func text(v any, keys ...string) string {
	s, _ := dig(v, keys...).(string)
	return s
}

// items is a copy of the list under the key.
func items(v any, key string) []any {
	all, _ := dig(v, key).([]any)
	return slices.Clone(all)
}

func list(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}
