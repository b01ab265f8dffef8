package policies_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/policy/policies"
	"spire-falco/report/reporttest"
	"spire-falco/rules"
)

type (
	object = map[string]any
	list   = []any
)

// stack is a small stack that keeps every policy, by name of the resource.
func stack(t *testing.T) map[string]policies.Resource {
	t.Helper()
	const rule = "- rule: A\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n  tags: [x]\n"
	hash := sha256.Sum256([]byte("21:spire-mtls-rules.yaml" + strconv.Itoa(len(rule)) + ":" + rule))
	return stackWith(t, hex.EncodeToString(hash[:]), map[string]string{"spire-mtls-rules.yaml": rule},
		[]string{"/etc/falco/rules.d/spire-mtls-rules.yaml", "/etc/falco/falco_rules.yaml"})
}

// stackWith is a stack with these rules.
func stackWith(t *testing.T, hash string, rules map[string]string, rulesFiles []string) map[string]policies.Resource {
	t.Helper()
	data, files := object{}, list{}
	for name, content := range rules {
		data[name] = content
	}
	for _, f := range rulesFiles {
		files = append(files, f)
	}
	name := "falco-rules-" + hash[:12]
	all := map[string]policies.Resource{}
	add := func(name, typ string, inputs object, dependsOn ...string) {
		urns := []string{}
		for _, d := range dependsOn {
			urns = append(urns, "urn::"+d)
		}
		all[name] = policies.Resource{URN: "urn::" + name, Name: name, Type: "kubernetes:" + typ, Inputs: inputs, DependsOn: urns}
	}
	namespace := func(name, level string) object {
		return object{"metadata": object{"name": name, "labels": object{"pod-security.kubernetes.io/enforce": level}}}
	}
	release := func(chart, namespace, version string, values object) object {
		c, err := charts.Resolve(chart, version)
		require.NoError(t, err)
		return object{
			"chart": chart, "name": chart, "namespace": namespace, "version": version,
			"repositoryOpts": object{"repo": c.Repository}, "values": values,
		}
	}
	add("spire-namespace", "core/v1:Namespace", namespace("spire", "privileged"))
	add("spire-crds", "helm.sh/v3:Release", release("spire-crds", "spire", "0.5.0", nil), "spire-namespace")
	add("spire", "helm.sh/v3:Release", release("spire", "spire", "0.27.0", object{
		"spire-agent":  object{"socketPath": "/a"},
		"spire-server": object{"controllerManager": object{"identities": object{"clusterSPIFFEIDs": object{"default": object{"enabled": false}}}}},
	}), "spire-crds")
	add("falco-namespace", "core/v1:Namespace", namespace("falco", "privileged"))
	add("sidekick-secret", "core/v1:Secret", object{
		"metadata":   object{"name": "outputs", "namespace": "falco"},
		"stringData": policies.Secret{Value: object{"SLACK_WEBHOOKURL": "https://hooks.slack.com/services/A/B/C"}},
	}, "falco-namespace")
	add("falcosidekick", "helm.sh/v3:Release", release("falcosidekick", "falco", "0.9.11", object{"config": object{"existingSecret": "outputs"}}),
		"falco-namespace", "sidekick-secret")
	add("rules", "core/v1:ConfigMap", object{
		"metadata": object{"name": name, "namespace": "falco"}, "immutable": true, "data": data,
	}, "falco-namespace")
	add("falco", "helm.sh/v3:Release", release("falco", "falco", "4.19.0", object{
		"driver":   object{"enabled": true, "kind": "modern_ebpf", "loader": object{"enabled": false}},
		"falcoctl": object{"artifact": object{"install": object{"enabled": false}, "follow": object{"enabled": false}}},
		"falco": object{
			"rules_files": files, "http_output": object{"enabled": true, "url": "http://falcosidekick:2801"},
		},
		"extra": object{"initContainers": list{object{"name": "check", "image": "docker.io/falcosecurity/falco:0.40.0-debian"}}},
		"mounts": object{
			"volumes":      list{object{"name": "rules", "configMap": object{"name": name}}},
			"volumeMounts": list{object{"name": "rules", "mountPath": "/etc/falco/rules.d"}},
		},
	}), "rules", "falcosidekick")
	add("namespace", "core/v1:Namespace", namespace("mtls", "restricted"))
	for _, w := range []string{"server", "client"} {
		meta := func() object { return object{"name": w, "namespace": "mtls", "labels": object{"app": w}} }
		selector := func() object { return object{"matchLabels": object{"app": w}} }
		add(w+"-account", "core/v1:ServiceAccount", object{"metadata": meta(), "automountServiceAccountToken": false}, "namespace")
		add(w+"-identity", "spire.spiffe.io/v1alpha1:ClusterSPIFFEID", object{
			"metadata": object{"name": "mtls-" + w},
			"spec": object{
				"spiffeIDTemplate":  "spiffe://example.org/ns/mtls/sa/" + w,
				"podSelector":       selector(),
				"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": "mtls"}},
			},
		}, "spire")
		add(w+"-policy", "networking.k8s.io/v1:NetworkPolicy", object{
			"metadata": meta(),
			"spec": object{
				"podSelector": selector(), "policyTypes": list{"Ingress", "Egress"},
				"ingress": list{object{"from": list{object{"podSelector": selector()}}, "ports": list{object{"port": 8443.0}}}},
				"egress":  list{object{"to": list{object{"podSelector": selector()}}, "ports": list{object{"port": 53.0}}}},
			},
		}, "namespace")
		add(w, "apps/v1:Deployment", object{
			"metadata": meta(),
			"spec": object{"template": object{
				"metadata": object{"labels": object{"app": w}},
				"spec": object{
					"serviceAccountName": w, "automountServiceAccountToken": false,
					"securityContext": object{"runAsNonRoot": true, "runAsUser": 65532.0, "seccompProfile": object{"type": "RuntimeDefault"}},
					"containers": list{object{
						"name": w, "image": "docker.io/library/mtls-server:1.2.3",
						"env":       list{object{"name": "SERVER_ADDRESS", "value": ":8443"}},
						"ports":     list{object{"containerPort": 8443.0}},
						"resources": object{"limits": object{"cpu": "500m", "memory": "128Mi"}},
						"securityContext": object{
							"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": list{"ALL"}},
						},
					}},
					"volumes": list{object{"name": "spiffe", "csi": object{"driver": "csi.spiffe.io", "readOnly": true}}},
				},
			}},
		}, w+"-account", w+"-identity", w+"-policy", "spire")
	}
	return all
}

func sorted(all map[string]policies.Resource) []policies.Resource {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	out := make([]policies.Resource, len(names))
	for i, name := range names {
		out[i] = all[name]
	}
	return out
}

// at walks into inputs: strings are fields, ints are elements.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(object)
			require.True(t, ok, "%v of %T", p, v)
			v = m[p]
		case int:
			l, ok := v.(list)
			require.True(t, ok, "%v of %T", p, v)
			v = l[p]
		}
	}
	return v
}

var (
	template  = []any{"spec", "template", "spec"}
	container = []any{"spec", "template", "spec", "containers", 0}
)

// cases break the stack in one way each. The first is the mistake, the other ones follow from it.
var cases = []struct {
	name     string
	policies []string
	message  string
	// set replaces a field of a resource; nil deletes it.
	resource string
	path     []any
	key      string
	value    any
	// or do breaks it in another way.
	do func(t *testing.T, all map[string]policies.Resource)
}{
	{
		name: "a chart version that was never published", policies: []string{"charts-are-pinned-and-published"}, message: "4.19.4",
		resource: "falco", key: "version", value: "4.19.4",
	},
	{
		name: "a range of chart versions", policies: []string{"charts-are-pinned-and-published"}, message: "one exact version",
		resource: "spire", key: "version", value: "^0.27.0",
	},
	{
		name: "no chart version", policies: []string{"charts-are-pinned-and-published", "falco-has-rules-and-an-output"}, message: "nothing",
		resource: "falcosidekick", key: "version",
	},
	{
		name: "no repository", policies: []string{"charts-are-pinned-and-published"}, message: "repositoryOpts.repo",
		resource: "spire", key: "repositoryOpts",
	},
	{
		name: "rules_file", policies: []string{"no-falco-rules-file"}, message: "rules_files",
		resource: "falco", path: []any{"values", "falco"}, key: "rules_file", value: list{"/etc/falco/falco_rules.yaml"},
	},
	{
		name: "a kernel module", policies: []string{"falco-driver-is-modern-ebpf"}, message: `"kmod"`,
		resource: "falco", path: []any{"values", "driver"}, key: "kind", value: "kmod",
	},
	{
		name: "no driver", policies: []string{"falco-driver-is-modern-ebpf"}, message: "no system call",
		resource: "falco", path: []any{"values", "driver"}, key: "enabled", value: false,
	},
	{
		name: "the chart's default driver", policies: []string{"falco-driver-is-modern-ebpf"}, message: "nothing",
		resource: "falco", path: []any{"values", "driver"}, key: "kind",
	},
	{
		name: "falcoctl left on", policies: []string{"nothing-unpinned-is-pulled-at-run-time"}, message: "values.falcoctl.artifact.follow.enabled",
		resource: "falco", path: []any{"values", "falcoctl", "artifact"}, key: "follow",
	},
	{
		name: "the driver loader", policies: []string{"nothing-unpinned-is-pulled-at-run-time"}, message: "values.driver.loader.enabled",
		resource: "falco", path: []any{"values", "driver", "loader"}, key: "enabled", value: true,
	},
	{
		name: "an image of the latest tag in values", policies: []string{"nothing-unpinned-is-pulled-at-run-time"}, message: "falcosidekick:latest",
		resource: "falco", path: []any{"values", "extra", "initContainers", 0}, key: "image", value: "falcosecurity/falcosidekick:latest",
	},
	{
		name: "a floating tag in values", policies: []string{"nothing-unpinned-is-pulled-at-run-time"}, message: `values.image.tag is "master"`,
		resource: "falcosidekick", path: []any{"values"}, key: "image", value: object{"repository": "falcosecurity/falcosidekick", "tag": "master"},
	},
	{
		name: "a mutable ConfigMap", policies: []string{"rules-configmap-is-immutable"}, message: "immutable is false",
		resource: "rules", key: "immutable", value: false,
	},
	{
		name: "a ConfigMap that does not say", policies: []string{"rules-configmap-is-immutable"}, message: "immutable is nothing",
		resource: "rules", key: "immutable",
	},
	{
		name: "no rules at all", policies: []string{"rules-configmap-is-immutable", "falco-has-rules-and-an-output"}, message: "data is empty",
		resource: "rules", key: "data", value: object{},
	},
	{
		name: "other rules under the same name", policies: []string{"rules-configmap-is-immutable"}, message: "by the hash of its data",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			data := all["rules"].Inputs["data"].(object)
			for name, text := range data {
				data[name] = text.(string) + "\n# edited\n"
				return
			}
		},
	},
	{
		name: "a rule that does not load", policies: []string{"rules-are-valid", "rules-configmap-is-immutable"}, message: "evt.typo",
		do: func(t *testing.T, all map[string]policies.Resource) {
			t.Helper()
			data := all["rules"].Inputs["data"].(object)
			data["spire-mtls-rules.yaml"] = data["spire-mtls-rules.yaml"].(string) +
				"\n- rule: Broken\n  desc: d\n  condition: evt.typo = open\n  output: o\n  priority: INFO\n  tags: [x]\n"
		},
	},
	{
		name: "a rule file of the user that does not load", policies: []string{"rules-are-valid", "rules-configmap-is-immutable", "falco-has-rules-and-an-output"},
		message: "LOAD_ERR", resource: "rules", path: []any{"data"}, key: "mine.yaml",
		value: "- rule: Broken\n  desc: d\n  condition: spawned_process and no_such_macro\n  output: o\n  priority: INFO\n",
	},
	{
		name: "a wrong volume name", policies: []string{"falco-has-rules-and-an-output"}, message: "none of values.mounts.volumes",
		do: func(t *testing.T, all map[string]policies.Resource) {
			t.Helper()
			at(t, all["falco"].Inputs, "values", "mounts", "volumeMounts", 0).(object)["name"] = "rulez"
		},
	},
	{
		name: "rules mounted elsewhere", policies: []string{"falco-has-rules-and-an-output", "rules-stay-on"}, message: "has 0 volume mounts",
		resource: "falco", path: []any{"values", "mounts", "volumeMounts", 0}, key: "mountPath", value: "/etc/falco/rules",
	},
	{
		name: "another ConfigMap", policies: []string{"falco-has-rules-and-an-output"}, message: "not part of the stack",
		resource: "falco", path: []any{"values", "mounts", "volumes", 0, "configMap"}, key: "name", value: "falco-rules-000000000000",
	},
	{
		name: "rules that are not loaded", policies: []string{"falco-has-rules-and-an-output"}, message: "does not list",
		resource: "falco", path: []any{"values", "falco"}, key: "rules_files", value: list{"/etc/falco/falco_rules.yaml"},
	},
	{
		name: "rules in another namespace", policies: []string{"falco-has-rules-and-an-output", "parts-start-in-order"}, message: `"mtls"`,
		resource: "rules", path: []any{"metadata"}, key: "namespace", value: "mtls",
	},
	{
		name: "no output", policies: []string{"falco-has-rules-and-an-output"}, message: "http_output",
		resource: "falco", path: []any{"values", "falco", "http_output"}, key: "enabled", value: false,
	},
	{
		name: "a Pulumi secret in values", policies: []string{"no-secret-outside-secrets"}, message: "values.config.slack is a secret",
		resource: "falcosidekick", path: []any{"values", "config"}, key: "slack", value: policies.Secret{Value: object{"webhookurl": "x"}},
	},
	{
		name: "a webhook in values", policies: []string{"no-secret-outside-secrets"}, message: "values.config.slack.webhookurl looks like a secret",
		resource: "falcosidekick", path: []any{"values", "config"}, key: "slack", value: object{"webhookurl": "https://hooks.slack.com/services/A/B/C"},
	},
	{
		name: "a password in values", policies: []string{"no-secret-outside-secrets"}, message: "a secret by its name",
		resource: "falcosidekick", path: []any{"values", "config"}, key: "elasticsearch", value: object{"password": "hunter2"},
	},
	{
		name: "a secret in a values file", policies: []string{"no-secret-outside-secrets", "releases-have-plain-values"}, message: "valueYamlFiles[0]",
		resource: "falco", key: "valueYamlFiles", value: list{policies.Secret{Value: "a: b"}},
	},
	{
		name: "a key in a ConfigMap", policies: []string{"no-secret-outside-secrets"}, message: "data.key.pem looks like",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			all["other"] = policies.Resource{URN: "urn::other", Name: "other", Type: "kubernetes:core/v1:ConfigMap", Inputs: object{
				"metadata": object{"name": "other"}, "data": object{"key.pem": "-----BEGIN EC PRIVATE KEY-----\n"},
			}}
		},
	},
	{
		name: "a password in the environment", policies: []string{"no-secret-outside-secrets"}, message: "DB_PASSWORD",
		resource: "server", path: container, key: "env", value: list{object{"name": "DB_PASSWORD", "value": "hunter2"}},
	},
	{
		name: "a Pulumi secret in the environment", policies: []string{"no-secret-outside-secrets", "everything-is-known"}, message: "valueFrom.secretKeyRef",
		resource: "server", path: container, key: "env", value: list{object{"name": "X", "value": policies.Secret{Value: policies.Unknown{}}}},
	},
	{
		name: "a workload that may be root", policies: []string{"workloads-run-as-non-root"}, message: "runAsNonRoot",
		resource: "server", path: append(append([]any{}, template...), "securityContext"), key: "runAsNonRoot",
	},
	{
		name: "a container that is root", policies: []string{"workloads-run-as-non-root"}, message: "runAsUser",
		resource: "server", path: append(append([]any{}, container...), "securityContext"), key: "runAsUser", value: 0.0,
	},
	{
		name: "an initial container without any setting",
		policies: []string{
			"workload-images-are-pinned", "workloads-have-a-read-only-root", "workloads-have-limits", "workloads-have-no-capabilities",
		},
		message: "container init", resource: "server", path: template, key: "initContainers", value: list{object{"name": "init"}},
	},
	{
		name: "a writable root", policies: []string{"workloads-have-a-read-only-root"}, message: "readOnlyRootFilesystem",
		resource: "server", path: append(append([]any{}, container...), "securityContext"), key: "readOnlyRootFilesystem", value: false,
	},
	{
		name: "capabilities kept", policies: []string{"workloads-have-no-capabilities"}, message: "drop ALL",
		resource: "server", path: append(append([]any{}, container...), "securityContext"), key: "capabilities",
	},
	{
		name: "privileges to be gained", policies: []string{"workloads-have-no-capabilities"}, message: "allowPrivilegeEscalation",
		resource: "server", path: append(append([]any{}, container...), "securityContext"), key: "allowPrivilegeEscalation",
	},
	{
		name: "no seccomp", policies: []string{"workloads-have-no-capabilities"}, message: "seccompProfile",
		resource: "server", path: append(append([]any{}, template...), "securityContext"), key: "seccompProfile", value: object{"type": "Unconfined"},
	},
	{
		name: "a service account token", policies: []string{"workloads-have-no-service-account-token"}, message: "automountServiceAccountToken",
		resource: "server", path: template, key: "automountServiceAccountToken",
	},
	{
		name: "a token of the account", policies: []string{"workloads-have-no-service-account-token"}, message: "it must be false",
		resource: "server-account", key: "automountServiceAccountToken", value: true,
	},
	{
		name: "a projected token", policies: []string{"workloads-have-no-service-account-token"}, message: "volume token projects",
		resource: "server", path: template, key: "volumes", value: list{
			object{"name": "token", "projected": object{"sources": list{object{"serviceAccountToken": object{"path": "t"}}}}},
		},
	},
	{
		name: "the default account", policies: []string{"workloads-have-no-service-account-token"}, message: "serviceAccountName",
		resource: "server", path: template, key: "serviceAccountName", value: "default",
	},
	{
		name: "no memory limit", policies: []string{"workloads-have-limits"}, message: "cpu and memory",
		resource: "server", path: append(append([]any{}, container...), "resources", "limits"), key: "memory",
	},
	{
		name: "an image without a tag", policies: []string{"workload-images-are-pinned"}, message: "registry:5000/mtls-server",
		resource: "server", path: container, key: "image", value: "registry:5000/mtls-server",
	},
	{
		name: "an image of a broken digest", policies: []string{"workload-images-are-pinned"}, message: "@sha256:12",
		resource: "server", path: container, key: "image", value: "mtls-server@sha256:12",
	},
	{
		name: "no identity", policies: []string{"workloads-have-their-own-identity"}, message: "0 ClusterSPIFFEIDs",
		do: func(_ *testing.T, all map[string]policies.Resource) { delete(all, "server-identity") },
	},
	{
		name: "an identity for two", policies: []string{"workloads-have-their-own-identity"}, message: "client and server",
		do: func(t *testing.T, all map[string]policies.Resource) {
			t.Helper()
			delete(all, "client-identity")
			for _, w := range []string{"server", "client"} {
				at(t, all[w].Inputs, "spec", "template", "metadata", "labels").(object)["tier"] = "mtls"
			}
			at(t, all["server-identity"].Inputs, "spec", "podSelector").(object)["matchLabels"] = object{"tier": "mtls"}
			client := all["client"]
			client.DependsOn = append(client.DependsOn, "urn::server-identity")
			all["client"] = client
		},
	},
	{
		name: "an identity for every pod", policies: []string{"workloads-have-their-own-identity", "parts-start-in-order"}, message: "podSelector is empty",
		resource: "server-identity", path: []any{"spec"}, key: "podSelector",
	},
	{
		name: "no network policy", policies: []string{"workloads-have-a-network-policy"}, message: "no NetworkPolicy",
		do: func(_ *testing.T, all map[string]policies.Resource) { delete(all, "server-policy") },
	},
	{
		name: "a network policy for ingress alone", policies: []string{"workloads-have-a-network-policy"}, message: "Egress",
		resource: "server-policy", path: []any{"spec"}, key: "policyTypes", value: list{"Ingress"},
	},
	{
		name: "a network policy that allows everything", policies: []string{"workloads-have-a-network-policy"}, message: "spec.egress[0]",
		resource: "server-policy", path: []any{"spec"}, key: "egress", value: list{object{}},
	},
	{
		name: "a privileged workload", policies: []string{"privileged-pods-only-for-falco-and-spire"}, message: "is privileged",
		resource: "server", path: append(append([]any{}, container...), "securityContext"), key: "privileged", value: true,
	},
	{
		name: "the network of the node", policies: []string{"privileged-pods-only-for-falco-and-spire"}, message: "hostNetwork",
		resource: "server", path: template, key: "hostNetwork", value: true,
	},
	{
		name: "a path of the node", policies: []string{"privileged-pods-only-for-falco-and-spire", "workloads-have-their-own-identity"}, message: "path of the node",
		do: func(t *testing.T, all map[string]policies.Resource) {
			t.Helper()
			delete(all, "client-identity")
			at(t, all["client"].Inputs, template...).(object)["volumes"] = list{object{"name": "root", "hostPath": object{"path": "/"}}}
		},
	},
	{
		name: "a port of the node", policies: []string{"privileged-pods-only-for-falco-and-spire"}, message: "port of the node",
		resource: "server", path: append(append([]any{}, container...), "ports", 0), key: "hostPort", value: 8443.0,
	},
	{
		name: "an added capability", policies: []string{"privileged-pods-only-for-falco-and-spire", "workloads-have-no-capabilities"}, message: "adds capabilities",
		resource: "server", path: append(append([]any{}, container...), "securityContext", "capabilities"), key: "add", value: list{"NET_ADMIN"},
	},
	{
		name: "a namespace that allows privileged pods", policies: []string{"privileged-pods-only-for-falco-and-spire"}, message: `"baseline"`,
		resource: "namespace", path: []any{"metadata", "labels"}, key: "pod-security.kubernetes.io/enforce", value: "baseline",
	},
	{
		name: "a DaemonSet patch that makes pods privileged", policies: []string{"privileged-pods-only-for-falco-and-spire"}, message: "is privileged",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			all["patch"] = policies.Resource{URN: "urn::patch", Name: "patch", Type: "kubernetes:apps/v1:DaemonSetPatch", Inputs: object{
				"metadata": object{"name": "x", "namespace": "mtls"},
				"spec": object{"template": object{"spec": object{"containers": list{
					object{"name": "x", "securityContext": object{"privileged": true}},
				}}}},
			}}
		},
	},
	{
		name: "Falco before its rules", policies: []string{"parts-start-in-order"}, message: "it needs rules",
		do: func(_ *testing.T, all map[string]policies.Resource) { dependOn(all, "falco", "falcosidekick") },
	},
	{
		name: "Falco before the receiver of its alerts", policies: []string{"parts-start-in-order"}, message: "it needs falcosidekick",
		do: func(_ *testing.T, all map[string]policies.Resource) { dependOn(all, "falco", "rules") },
	},
	{
		name: "SPIRE before its CRDs", policies: []string{"parts-start-in-order"}, message: "it needs spire-crds",
		do: func(_ *testing.T, all map[string]policies.Resource) { dependOn(all, "spire", "spire-namespace") },
	},
	{
		name: "a workload before its identity", policies: []string{"parts-start-in-order"}, message: "it needs server-identity",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			dependOn(all, "server", "server-policy", "spire")
		},
	},
	{
		name: "a workload before its network policy", policies: []string{"parts-start-in-order"}, message: "it needs server-policy",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			dependOn(all, "server", "server-identity", "server-account")
		},
	},
	{
		name: "Falcosidekick before its Secret", policies: []string{"parts-start-in-order"}, message: "it needs sidekick-secret",
		do: func(_ *testing.T, all map[string]policies.Resource) {
			dependOn(all, "falcosidekick", "falco-namespace")
		},
	},
}

func dependOn(all map[string]policies.Resource, name string, others ...string) {
	r := all[name]
	r.DependsOn = []string{}
	for _, o := range others {
		r.DependsOn = append(r.DependsOn, "urn::"+o)
	}
	all[name] = r
}

func broken(violations []policies.Violation) (names []string, text string) {
	seen := map[string]bool{}
	for _, v := range violations {
		if !seen[v.Policy] {
			names = append(names, v.Policy)
		}
		seen[v.Policy] = true
		text += v.String() + "\n"
	}
	return names, text
}

func TestAGoodStackKeepsEveryPolicy(t *testing.T) {
	t.Parallel()
	assert.Empty(t, policies.Evaluate(sorted(stack(t))))
}

func TestTheRulesOfTheStackKeepEveryPolicy(t *testing.T) {
	t.Parallel()
	for _, extra := range [][]rules.File{nil, {
		{Name: "b.yaml", Content: "- rule: B\n  desc: d\n  condition: spawned_process\n  output: o\n  priority: INFO\n"},
		{Name: "a.yaml", Content: "- list: some\n  items: [x]\n- rule: C\n  desc: d\n  condition: spawned_process and proc.name in (some)\n  output: o\n  priority: INFO\n"},
	}} {
		in := rules.DefaultInputs()
		in.ExtraFiles = extra
		rendered, err := rules.Render(in)
		require.NoError(t, err)
		all := stackWith(t, rendered.Hash, rendered.Data(), rendered.RulesFiles())
		assert.Empty(t, policies.Evaluate(sorted(all)))
	}
}

func TestEachMistakeBreaksItsPolicyAndNoOther(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			all := stack(t)
			if c.do != nil {
				c.do(t, all)
			} else {
				m, ok := at(t, all[c.resource].Inputs, c.path...).(object)
				require.True(t, ok)
				if c.value == nil {
					delete(m, c.key)
				} else {
					m[c.key] = c.value
				}
			}
			names, text := broken(policies.Evaluate(sorted(all)))
			assert.ElementsMatch(t, c.policies, names, text)
			assert.Contains(t, text, c.message)
			assert.NotContains(t, text, "hunter2")
			assert.NotContains(t, text, "services/A/B/C")
		})
	}
}

func TestEveryPolicyHasAMistakeThatBreaksIt(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, c := range cases {
		tried[c.policies[0]] = true
	}
	for _, list := range attempts(t, "hostile") {
		for _, a := range list {
			tried[a.Policy] = true
		}
	}
	seen := map[string]bool{}
	for _, p := range policies.Policies() {
		assert.True(t, tried[p.Name], p.Name)
		assert.False(t, seen[p.Name], "two are called %s", p.Name)
		seen[p.Name] = true
		assert.Regexp(t, `^[a-z-]+$`, p.Name)
		assert.NotEmpty(t, p.Description)
	}
}

func TestEveryPolicyIsInTheDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/policies.md")
	require.NoError(t, err)
	for _, p := range policies.Policies() {
		assert.Contains(t, string(text), "| `"+p.Name+"` | "+p.Description+" |\n")
	}
}

func TestAViolationPrintsNothingThatMovesACursor(t *testing.T) {
	t.Parallel()
	all := stack(t)
	r := all["server"]
	r.Name = "server\x1b[2J\u202e"
	at(t, r.Inputs, container...).(object)["name"] = "a\r\n::error::b\u200b"
	at(t, r.Inputs, container...).(object)["image"] = "evil:\x1b[31mlatest\u2066"
	all["server"] = r
	violations := policies.Evaluate(sorted(all))
	require.NotEmpty(t, violations)
	for _, v := range violations {
		for _, c := range v.String() {
			assert.True(t, unicode.IsGraphic(c), "%q", v.String())
		}
	}
	r.Name = strings.Repeat("x", 1_000_000)
	all["server"] = r
	for _, v := range policies.Evaluate(sorted(all)) {
		assert.Less(t, len(v.String()), 10_000)
	}
}

func TestAStackWithoutFalcoIsNotAskedForRules(t *testing.T) {
	t.Parallel()
	all := stack(t)
	for _, name := range []string{"falco", "rules", "falcosidekick", "sidekick-secret", "falco-namespace"} {
		delete(all, name)
	}
	assert.Empty(t, policies.Evaluate(sorted(all)))
}

func TestWithoutKnownDependenciesNothingIsSaidAboutTheOrder(t *testing.T) {
	t.Parallel()
	all := stack(t)
	for name, r := range all {
		r.DependsOn = nil
		all[name] = r
	}
	assert.Empty(t, policies.Evaluate(sorted(all)))
}

// everywhere puts a value at every place of every resource's inputs, one after the other, and asks the policies each
// time.
func everywhere(t *testing.T, replace func(old any) any, check func(where string, violations []policies.Violation)) int {
	t.Helper()
	all := stack(t)
	n := 0
	var walk func(where string, v any)
	try := func(where string, old any, set func(any)) {
		set(replace(old))
		check(where, policies.Evaluate(sorted(all)))
		set(old)
		n++
	}
	walk = func(where string, v any) {
		switch v := v.(type) {
		case object:
			for k, item := range v {
				try(where+"."+k, item, func(new any) { v[k] = new })
				walk(where+"."+k, item)
			}
		case list:
			for i, item := range v {
				try(fmt.Sprintf("%s[%d]", where, i), item, func(new any) { v[i] = new })
				walk(fmt.Sprintf("%s[%d]", where, i), item)
			}
		}
	}
	for name, r := range all {
		walk(name, r.Inputs)
	}
	return n
}

// read reports whether policies read the place: the content of a Secret they do not.
func read(where string) bool { return !strings.HasPrefix(where, "sidekick-secret.stringData") }

func TestAnUnknownValueIsAViolationWhereverItIsRead(t *testing.T) {
	t.Parallel()
	for _, unknown := range []any{policies.Unknown{}, policies.Secret{Value: policies.Unknown{}}} {
		n := everywhere(t, func(any) any { return unknown }, func(where string, v []policies.Violation) {
			names, text := broken(v)
			if read(where) {
				assert.Contains(t, names, "everything-is-known", where)
				return
			}
			assert.Empty(t, text, where)
		})
		assert.Greater(t, n, 150)
	}
}

func TestASecretIsJudgedByItsValueAndOnlyItsPlaceIsAViolation(t *testing.T) {
	t.Parallel()
	everywhere(t, func(old any) any { return policies.Secret{Value: old} }, func(where string, v []policies.Violation) {
		assert.Equal(t, read(where), len(v) > 0, where)
		for _, violation := range v {
			assert.Equal(t, "no-secret-outside-secrets", violation.Policy, where)
		}
	})
}

func TestValuesOfAnyTypeNeverCrashAPolicy(t *testing.T) {
	t.Parallel()
	for _, v := range []any{nil, true, 1, -0.5, "", "x", list{}, list{nil, 1.0, list{}}, object{}, object{"": nil}, struct{}{}} {
		assert.NotPanics(t, func() {
			everywhere(t, func(any) any { return v }, func(string, []policies.Violation) {})
		}, "%#v", v)
	}
	assert.NotPanics(t, func() {
		policies.Evaluate([]policies.Resource{{}, {Type: "kubernetes:core/v1:Pod"}, {Type: "kubernetes:helm.sh/v3:Release", DependsOn: []string{"x"}}})
	})
}

func TestAViolationIsOneHarmlessLine(t *testing.T) {
	t.Parallel()
	found := policies.Evaluate([]policies.Resource{{
		URN: "urn:pulumi:dev::p::" + reporttest.Hostile, Name: reporttest.Hostile, Type: "kubernetes:helm.sh/v3:Release",
		Inputs: object{"chart": reporttest.Hostile, "version": reporttest.Hostile, "values": object{"image": object{"tag": reporttest.Hostile}}},
	}})
	require.NotEmpty(t, found)
	for _, v := range found {
		reporttest.Harmless(t, v.String())
		assert.NotContains(t, v.String(), "\n")
	}
}
