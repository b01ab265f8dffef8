package config

import (
	"fmt"
	"slices"
	"strings"

	"spire-falco/charts"
)

// Guard is a key of a chart's values that a user may not set, since it would break what the stack promises, or since a
// setting does it.
type Guard struct {
	// Key in the chart's values, and everything below it: * stands for one part, ** for any number of parts.
	Key string
	// Keep is the value that is accepted all the same, since it is what the stack sets or changes nothing; nil for none.
	Keep any
	// Why it may not be set, for people; empty for keys that may be set all the same, which comes before one of all around them.
	Why string
	// Setting that does what the key is for; empty for none.
	Setting string
}

// want says what is allowed, and what to do instead.
func (g Guard) want() string {
	text := "may not be set: " + g.Why
	if g.Keep != nil {
		text = fmt.Sprintf("must be %v or left out: %s", g.Keep, g.Why)
	}
	if g.Setting != "" {
		text += "; use the setting " + g.Setting
	}
	return text
}

const (
	whyOwnSetting = "it has a setting of its own"
	whyNames      = "other parts of the stack find what the chart creates by its name and namespace"
	whyOutside    = "it opens the chart's pods to outside of the cluster"
	whyObjects    = "it adds objects that no policy reads"
	whyPlainKey   = "a private key would be readable in the state and in the cluster; put it into a Secret and name that"
	whyFalcoctl   = "falcoctl pulls rules and plugins at run time, unpinned and unchecked, so that it is off"
	whyPlugins    = "plugins would be pulled at run time, and their rules are not checked yet"
	whyNodes      = "Falco must run on every node that has workloads"
	whyPinned     = "the stack pins it, so that what runs is what was checked"
	whyIdentities = "each workload has an identity of its own and nobody else has one"
	whyPart       = "it is a part that this stack neither needs nor checks"
	whySocket     = "workloads, agent and rules must mean the same socket"
)

// Guarded are the guarded keys of each chart. docs/values.md has the same table for people.
var Guarded = map[string][]Guard{
	charts.FalcoName: {
		{Key: "falco.rules_files", Why: "the stack loads its own rules first, then the stock rules, then yours", Setting: "falco.extraRules"},
		{Key: "falco.rules_file", Why: "Falco refuses to start with it beside rules_files", Setting: "falco.extraRules"},
		{Key: "falco.rule_files", Why: "it is another name of rules_files", Setting: "falco.extraRules"},
		{Key: "falco.rules", Why: "it can switch rules of the stack off"},
		{Key: "customRules", Why: "rules reach Falco through the stack's ConfigMap, which is checked first", Setting: "falco.extraRules"},
		{Key: "mounts.volumes", Why: "the list would replace the one that mounts the rules", Setting: "falco.extraRules"},
		{Key: "mounts.volumeMounts", Why: "the list would replace the one that mounts the rules", Setting: "falco.extraRules"},
		{Key: "extra.args", Why: "arguments of Falco can switch rules off"},
		{Key: "extra.initContainers", Why: "the list would replace the check of each node that comes before Falco"},
		{Key: "falco.config_files", Why: "further files of configuration can switch rules off"},
		{Key: "falco.priority", Why: whyOwnSetting, Setting: "falco.priority"},
		{Key: "falco.json_output", Keep: true, Why: "whoever receives alerts reads JSON"},
		{Key: "falco.json_include_output_property", Keep: true, Why: "whoever receives alerts reads it"},
		{Key: "falco.json_include_output_fields_property", Keep: true, Why: "whoever receives alerts reads it"},
		{Key: "falco.json_include_tags_property", Keep: true, Why: "whoever receives alerts reads it"},
		{Key: "falco.time_format_iso_8601", Keep: true, Why: "whoever receives alerts reads times of this form"},
		{Key: "falco.buffered_outputs", Keep: false, Why: "alerts would come late"},
		{Key: "falco.stdout_output.enabled", Keep: true, Why: "stack alerts reads the pods' logs"},
		{Key: "falco.http_output.enabled", Keep: true, Why: "alerts reach Falcosidekick this way"},
		{Key: "falco.http_output.url", Why: "alerts go to the stack's Falcosidekick, which passes them on", Setting: "falcosidekick.outputs"},
		{Key: "falco.file_output.*", Why: "its directory must be mounted too", Setting: "falco.fileOutput"},
		{Key: "falco.syslog_output.enabled", Why: "the node's socket must be mounted too", Setting: "falco.syslogOutput"},
		{Key: "falco.program_output.enabled", Keep: false, Why: "it runs a program in Falco's pod for each alert", Setting: "falcosidekick.outputs"},
		{Key: "falco.program_output", Why: "it runs a program in Falco's pod for each alert", Setting: "falcosidekick.outputs"},
		{Key: "falco.outputs", Why: "alerts beyond a rate would be lost"},
		{Key: "falco.webserver.enabled", Keep: true, Why: "the pod's probes and the metrics need it"},
		{Key: "falco.webserver.listen_port", Keep: 8765, Why: "the pod's probes and the metrics need it"},
		{Key: "falco.webserver.prometheus_metrics_enabled", Why: whyOwnSetting, Setting: "falco.metrics"},
		{Key: "falco.engine.kind", Keep: DriverModernEBPF, Why: "it is the only driver that needs no module, compiler or headers"},
		{Key: "falco.engine.kmod", Why: "the driver is " + DriverModernEBPF},
		{Key: "falco.engine.ebpf", Why: "the driver is " + DriverModernEBPF},
		{Key: "falco.engine.gvisor", Why: "the driver is " + DriverModernEBPF},
		{Key: "falco.engine.replay", Why: "Falco would read a file in place of the node's system calls"},
		{Key: "falco.engine.modern_ebpf.buf_size_preset", Why: whyOwnSetting, Setting: "falco.bufferPreset"},
		{Key: "falco.engine.modern_ebpf.drop_failed_exit", Keep: false, Why: "refused attempts would raise no alert"},
		{Key: "falco.base_syscalls.custom_set", Why: "Falco would not see the events of all rules"},
		{Key: "falco.syscall_event_drops.simulate_drops", Keep: false, Why: "Falco would drop events"},
		{Key: "falco.plugins", Why: whyPlugins},
		{Key: "falco.load_plugins", Why: whyPlugins},
		{Key: "falco.container_engines", Why: "the chart writes it from its collectors"},
		{Key: "driver.enabled", Keep: true, Why: "Falco would see no system call"},
		{Key: "driver.kind", Keep: DriverModernEBPF, Why: "it is the only driver that needs no module, compiler or headers"},
		{Key: "driver.loader.enabled", Keep: false, Why: DriverModernEBPF + " needs no loader, which would pull at run time"},
		{Key: "driver.loader", Why: DriverModernEBPF + " needs no loader, which would pull at run time"},
		{Key: "driver.kmod", Why: "the driver is " + DriverModernEBPF},
		{Key: "driver.ebpf", Why: "the driver is " + DriverModernEBPF},
		{Key: "driver.gvisor", Why: "the driver is " + DriverModernEBPF},
		{Key: "driver.modernEbpf.bufSizePreset", Why: whyOwnSetting, Setting: "falco.bufferPreset"},
		{Key: "driver.modernEbpf.leastPrivileged", Why: whyOwnSetting, Setting: "falco.leastPrivileged"},
		{Key: "driver.modernEbpf.dropFailedExit", Keep: false, Why: "refused attempts would raise no alert"},
		{Key: "containerSecurityContext", Why: "Falco would not have the rights that its driver needs, or more", Setting: "falco.leastPrivileged"},
		{Key: "collectors.enabled", Keep: true, Why: "events would have no container and no pod"},
		{Key: "collectors.kubernetes.enabled", Keep: false, Why: "k8smeta needs a plugin and a collector, which are not checked yet; pod names, namespaces and labels come from the runtime"},
		{Key: "collectors.kubernetes", Why: "k8smeta needs a plugin and a collector, which are not checked yet; pod names, namespaces and labels come from the runtime"},
		{Key: "collectors.docker.enabled", Keep: false, Why: "this stack has checked the names of pods and containers with containerd alone"},
		{Key: "collectors.crio.enabled", Keep: false, Why: "this stack has checked the names of pods and containers with containerd alone"},
		{Key: "collectors", Why: "the rules need the names of pods and containers, which this stack has checked with containerd alone"},
		{Key: "k8s-metacollector", Why: "k8smeta needs a plugin and a collector, which are not checked yet"},
		{Key: "falcoctl.artifact.install.enabled", Keep: false, Why: whyFalcoctl, Setting: "falco.extraRules"},
		{Key: "falcoctl.artifact.follow.enabled", Keep: false, Why: whyFalcoctl, Setting: "falco.extraRules"},
		{Key: "falcoctl", Why: whyFalcoctl, Setting: "falco.extraRules"},
		{Key: "falcosidekick.enabled", Keep: false, Why: "the stack installs Falcosidekick with a chart of its own", Setting: "falcosidekick.outputs and falcosidekick.values"},
		{Key: "falcosidekick", Why: "the stack installs Falcosidekick with a chart of its own", Setting: "falcosidekick.outputs and falcosidekick.values"},
		{Key: "responseActions.enabled", Keep: false, Why: "it installs a further program with rights over the cluster"},
		{Key: "responseActions", Why: "it installs a further program with rights over the cluster"},
		{Key: "falco-talon", Why: "it installs a further program with rights over the cluster"},
		{Key: "controller.kind", Keep: "daemonset", Why: whyNodes},
		{Key: "controller.deployment", Why: whyNodes},
		{Key: "controller.daemonset", Why: "a new pod is ready before the old one goes, so that an upgrade misses nothing"},
		{Key: "nodeSelector", Why: whyNodes},
		{Key: "affinity", Why: whyNodes},
		{Key: "image.registry", Why: whyPinned},
		{Key: "image.repository", Why: whyPinned},
		{Key: "image.tag", Why: whyPinned, Setting: "falco.chartVersion"},
		{Key: "resources.requests.cpu", Why: whyOwnSetting, Setting: "falco.requests.cpu"},
		{Key: "resources.requests.memory", Why: whyOwnSetting, Setting: "falco.requests.memory"},
		{Key: "resources.limits.cpu", Why: whyOwnSetting, Setting: "falco.limits.cpu"},
		{Key: "resources.limits.memory", Why: whyOwnSetting, Setting: "falco.limits.memory"},
		{Key: "metrics.enabled", Why: whyOwnSetting, Setting: "falco.metrics"},
		{Key: "serviceMonitor.create", Why: whyOwnSetting, Setting: "falco.serviceMonitor"},
		{Key: "grafana.dashboards.enabled", Keep: false, Why: whyOwnSetting, Setting: "falco.dashboard"},
		{Key: "podAnnotations.spire-falco/rules-hash", Why: "it rolls the pods when the rules change"},
		{Key: "services", Why: "they are for the audit plugins, which are not checked yet, and open Falco's pods"},
		{Key: "certs.*.key", Why: whyPlainKey},
		{Key: "nameOverride", Why: whyNames},
		{Key: "fullnameOverride", Why: whyNames},
		{Key: "namespaceOverride", Why: whyNames, Setting: "falco.namespace"},
	},
	charts.FalcosidekickName: {
		{Key: "config.existingSecret", Why: "it names the Secret that the stack makes of the outputs' secrets", Setting: "falcosidekick.outputs"},
		{Key: "config.extraEnv", Why: "it may hold any variable of Falcosidekick, credentials too", Setting: "falcosidekick.outputs"},
		{Key: "config.extraArgs", Why: "it may name another configuration of Falcosidekick", Setting: "falcosidekick.outputs"},
		{Key: "config.tlsserver", Why: "Falco posts alerts in plain text inside the namespace; with TLS it could not reach Falcosidekick"},
		{Key: "config.tlsclient"},
		{Key: "config.mutualtlsclient"},
		{Key: "config.*.*", Why: "it is a key of an output", Setting: "falcosidekick.outputs"},
		{Key: "service.port", Keep: 2801, Why: "Falco posts alerts to it"},
		{Key: "service.type", Keep: "ClusterIP", Why: whyOutside},
		{Key: "ingress.enabled", Keep: false, Why: whyOutside},
		{Key: "httproute.enabled", Keep: false, Why: whyOutside},
		{Key: "image.registry", Why: whyPinned},
		{Key: "image.repository", Why: whyPinned},
		{Key: "image.tag", Why: whyPinned, Setting: "falcosidekick.chartVersion"},
		{Key: "webui.enabled", Why: whyOwnSetting, Setting: "falcosidekick.ui.enabled"},
		{Key: "webui.user", Why: whyOwnSetting, Setting: "falcosidekick.ui.user"},
		{Key: "webui.existingSecret", Why: "it names the Secret that the stack makes", Setting: UIPasswordKey},
		{Key: "webui.disableauth", Keep: false, Why: "anybody who reaches the UI would read the alerts"},
		{Key: "webui.service.type", Keep: "ClusterIP", Why: whyOutside},
		{Key: "webui.ingress.enabled", Keep: false, Why: whyOutside},
		{Key: "webui.httproute.enabled", Keep: false, Why: whyOutside},
		{Key: "webui.redis.service.type", Keep: "ClusterIP", Why: whyOutside},
		{Key: "podAnnotations.spire-falco/secret-hash", Why: "it rolls the pods when a secret of theirs changes"},
		{Key: "webui.podAnnotations.spire-falco/secret-hash", Why: "it rolls the pods when a secret of theirs changes"},
		{Key: "nameOverride", Why: whyNames},
		{Key: "fullnameOverride", Why: whyNames},
		{Key: "extraObjects", Why: whyObjects},
	},
	charts.SPIREName: {
		{Key: "**.identities.clusterSPIFFEIDs.*.enabled", Keep: false, Why: whyIdentities, Setting: "workloads"},
		{Key: "**.identities", Why: whyIdentities, Setting: "workloads"},
		{Key: "**.controllerManager.enabled", Keep: true, Why: "it makes the workloads' identities"},
		{Key: "**.controllerManager.className", Why: "the workloads' identities are of this class"},
		{Key: "**.controllerManager.watchClassless", Keep: false, Why: whyIdentities},
		{Key: "**.controllerManager.reconcile.clusterSPIFFEIDs", Keep: true, Why: "it makes the workloads' identities"},
		{Key: "**.controllerManager.ignoreNamespaces", Why: "workloads there would get no identity"},
		{Key: "**.controllerManager.cacheNamespaces", Why: "workloads elsewhere would get no identity"},
		{Key: "**.controllerManager.parentIDTemplate", Why: whyIdentities},
		{Key: "**.controllerManager.staticManifestMode", Keep: "off", Why: "it makes the workloads' identities"},
		{Key: "**.controllerManager.validatingWebhookConfiguration", Why: "an identity that is wrong would be taken"},
		{Key: "spire-server.externalControllerManagers", Why: whyIdentities},
		{Key: "global.spire.trustDomain", Why: whyOwnSetting, Setting: "spire.trustDomain"},
		{Key: "**.trustDomain", Why: whyOwnSetting, Setting: "spire.trustDomain"},
		{Key: "global.spire.clusterName", Why: whyOwnSetting, Setting: "spire.clusterName"},
		{Key: "**.clusterName", Why: whyOwnSetting, Setting: "spire.clusterName"},
		{Key: "spire-server.persistence.type", Why: whyOwnSetting, Setting: "spire.persistence"},
		{Key: "spire-server.persistence.hostPath", Why: "no volume is a path of a node"},
		{Key: "spire-agent.socketPath", Why: whySocket, Setting: "spire.agentSocketPath"},
		{Key: "spire-agent.sockets.hostBasePath", Why: whySocket, Setting: "spire.agentSocketPath"},
		{Key: "spire-agent.sockets.admin.enabled", Keep: false, Why: "a second socket of the agent that no rule watches"},
		{Key: "spire-agent.sockets.broker.enabled", Keep: false, Why: "a second socket of the agent that no rule watches"},
		{Key: "spire-agent.socketAlternate", Why: whySocket, Setting: "spire.agentSocketPath"},
		{Key: "spiffe-csi-driver.agentSocketPath", Why: whySocket, Setting: "spire.agentSocketPath"},
		{Key: "spiffe-csi-driver.pluginName", Keep: "csi.spiffe.io", Why: "workloads mount the socket by this name"},
		{Key: "spire-agent.workloadAttestors.k8s.enabled", Keep: true, Why: "workloads are told apart by their pods"},
		{Key: "spire-agent.workloadAttestors.k8s.disableContainerSelectors", Keep: false, Why: "workloads are told apart by their pods"},
		{Key: "spire-agent.authorizedDelegates", Why: "a delegate gets the identities of others"},
		{Key: "spire-server.adminIDs", Why: "an admin registers identities for others"},
		{Key: "spire-server.enabled", Keep: true, Why: "the stack needs it"},
		{Key: "spire-server.externalServer", Keep: false, Why: "the stack brings the server", Setting: "spire.mode"},
		{Key: "spire-agent.enabled", Keep: true, Why: "the stack needs it"},
		{Key: "spire-agent.agents", Why: "the stack waits for one agent on each node, and knows its socket"},
		{Key: "spiffe-csi-driver.enabled", Keep: true, Why: "workloads mount the socket through it"},
		{Key: "spire-server.kind", Keep: "statefulset", Why: "its data would go with the pod"},
		{Key: "spire-server.image.registry", Why: whyPinned},
		{Key: "spire-server.image.repository", Why: whyPinned},
		{Key: "spire-server.image.tag", Why: whyPinned, Setting: "spire.chartVersion"},
		{Key: "spire-agent.image.registry", Why: whyPinned},
		{Key: "spire-agent.image.repository", Why: whyPinned},
		{Key: "spire-agent.image.tag", Why: whyPinned, Setting: "spire.chartVersion"},
		{Key: "spiffe-oidc-discovery-provider.enabled", Keep: false, Why: "its identity is among those for everyone, which are off; SVIDs here are X.509"},
		{Key: "spiffe-oidc-discovery-provider", Why: "it is off: its identity is among those for everyone; SVIDs here are X.509"},
		{Key: "tornjak-frontend.enabled", Keep: false, Why: whyPart},
		{Key: "tornjak-frontend", Why: whyPart},
		{Key: "spire-server.tornjak.enabled", Keep: false, Why: "it answers without asking who calls"},
		{Key: "spire-server.tornjak", Why: "it answers without asking who calls"},
		{Key: "spike-*.enabled", Keep: false, Why: whyPart},
		{Key: "spike-*", Why: whyPart},
		{Key: "spire-server.spike.enabled", Keep: false, Why: whyPart},
		{Key: "spire-identity-exchange.enabled", Keep: false, Why: whyPart},
		{Key: "spire-identity-exchange", Why: whyPart},
		{Key: "spire-server.spireIdentityExchange.enabled", Keep: false, Why: whyPart},
		{Key: "upstream.enabled", Keep: false, Why: whyPart},
		{Key: "upstream-*", Why: whyPart},
		{Key: "**.ingress.enabled", Keep: false, Why: whyOutside},
		{Key: "**.gatewayAPI.enabled", Keep: false, Why: whyOutside},
		{Key: "**.service.type", Keep: "ClusterIP", Why: whyOutside},
		{Key: "spire-server.upstreamAuthority.*.secret.data", Why: whyPlainKey},
		{Key: "spire-server.secrets", Why: "a credential would be readable in the state and in the cluster; give the server its rights by its ServiceAccount"},
		{Key: "spire-server.kubeConfigs", Why: "a kubeconfig has credentials, which would be readable in the state and in the cluster"},
		{Key: "**.nameOverride", Why: whyNames},
		{Key: "**.fullnameOverride", Why: whyNames},
		{Key: "**.crNameOverride", Why: whyNames},
		{Key: "**.namespaceOverride", Why: whyNames, Setting: "spire.namespace"},
		{Key: "**.serverNamespaceOverride", Why: whyNames, Setting: "spire.namespace"},
		{Key: "global.spire.namespaces", Why: whyNames, Setting: "spire.namespace"},
		{Key: "global.spire.recommendations.enabled", Keep: false, Why: "it moves the parts into other namespaces"},
		{Key: "global.spire.recommendations.namespaceLayout", Keep: false, Why: "it moves the parts into other namespaces"},
	},
	charts.SPIRECRDsName: {
		{Key: "annotations.helm.sh/resource-policy", Why: "with it a teardown would leave the CRDs behind"},
	},
}

// guardOf is the guard of a key, or of what the key is below of; nil when it may be set. The first that matches counts, so
// that one of a key comes before one of what is above it.
func guardOf(chart string, path []string) *Guard {
	for i, g := range Guarded[chart] {
		if covers(guardParts(g.Key), path) {
			if g.Why == "" {
				return nil
			}
			return &Guarded[chart][i]
		}
	}
	return nil
}

// guardParts are the parts of a guard's key; one with a slash is a name with dots of its own, and comes last.
func guardParts(key string) []string {
	if head, name, ok := strings.Cut(key, "nnotations."); ok {
		return append(strings.Split(head+"nnotations", "."), name)
	}
	return strings.Split(key, ".")
}

// covers tells whether the pattern matches the path or the beginning of it.
func covers(pattern, path []string) bool {
	switch {
	case len(pattern) == 0:
		return true
	case pattern[0] == "**":
		return slices.ContainsFunc(append([]int{len(path)}, indices(path)...), func(i int) bool { return covers(pattern[1:], path[i:]) })
	case len(path) == 0:
		return false
	}
	head, wild := strings.CutSuffix(pattern[0], "*")
	if pattern[0] != path[0] && (!wild || !strings.HasPrefix(path[0], head)) {
		return false
	}
	return covers(pattern[1:], path[1:])
}

func indices(path []string) []int {
	out := make([]int, len(path))
	for i := range path {
		out[i] = i
	}
	return out
}
