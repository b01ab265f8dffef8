package config

import (
	"strings"

	"spire-falco/charts"
	"spire-falco/falco"
)

// priorities is what a setting of a priority may be, for people to read.
var priorities = strings.Join(falco.PrioritySettings(), ", ")

// Project is the name of the Pulumi project, and so the namespace of its configuration keys.
const Project = "spire-falco"

// EnableFalcoVariable is the environment variable that wins over the setting enableFalco.
const EnableFalcoVariable = "ENABLE_FALCO"

// DefaultAgentSocketPath is where the SPIRE agent serves the Workload API on a node, as the user's guide has it.
const DefaultAgentSocketPath = "/tmp/spire-agent/public/api.sock"

// Type is how a setting is written in Pulumi.yaml.
type Type string

// The types that Pulumi project configuration knows and that this project uses.
const (
	String  Type = "string"
	Integer Type = "integer"
	Boolean Type = "boolean"
	Strings Type = "array of string"
	Objects Type = "array of object"
	Object  Type = "object"
)

// Setting declares one configuration key.
type Setting struct {
	// Key without the project's namespace, such as cluster.mode.
	Key string
	// Type of the value.
	Type Type
	// Default as it is written in YAML (JSON for arrays). Empty: the setting is empty unless set.
	Default string
	// Secret values must be set with `pulumi config set --secret`.
	Secret bool
	// Description for people, one line, without a full stop.
	Description string
}

// Declared lists every setting in the order in which people read them. Pulumi.yaml says the same (a test compares them).
var Declared = []Setting{
	{Key: "enableFalco", Type: Boolean, Default: "false", Description: "Deploy Falco, Falcosidekick and the rules; the environment variable ENABLE_FALCO wins over this"},

	{Key: "cluster.mode", Type: String, Default: ModeMinikube, Description: "minikube: the stack makes a cluster of its own; existing: it uses the one of cluster.kubeconfig and cluster.context"},
	{Key: "cluster.kubeconfig", Type: String, Description: "Path of the kubeconfig. minikube: created there, below .state/STACK, default .state/STACK/kubeconfig; existing: read from there, required, never written"},
	{Key: "cluster.context", Type: String, Description: "Context of the kubeconfig; existing: required, minikube: always the profile's name"},
	{Key: "cluster.testing", Type: Boolean, Default: "false", Description: "This cluster is for testing: verify may attack the stack on it"},

	{Key: "minikube.profile", Type: String, Default: "spire-falco", Description: "Minikube profile of the stack's own"},
	{Key: "minikube.driver", Type: String, Default: "docker", Description: "Minikube driver: " + strings.Join(minikubeDrivers, ", ")},
	{Key: "minikube.cpus", Type: Integer, Default: "2", Description: "Processors of the Minikube node, 2 or more"},
	{Key: "minikube.memory", Type: Integer, Default: "4096", Description: "Memory of the Minikube node in MiB, 2048 or more"},
	{Key: "minikube.disk", Type: String, Default: "20g", Description: "Disk of the Minikube node, such as 20g or 20000m; 2000m or more"},
	{Key: "minikube.cni", Type: String, Default: "kindnet", Description: "Network of the Minikube node, one that enforces NetworkPolicies: " + strings.Join(minikubeNetworks, ", ")},
	{Key: "minikube.kubernetesVersion", Type: String, Default: "v1.36.3", Description: "Kubernetes version of the Minikube node, such as v1.36.3 (runtime: containerd)"},

	{Key: "spire.mode", Type: String, Default: ModeInstall, Description: "install: the stack brings SPIRE and its CRDs; existing: it uses those of the cluster and leaves them alone"},
	{Key: "spire.namespace", Type: String, Default: "spire", Description: "Namespace of SPIRE's server, agents and CSI driver"},
	{Key: "spire.className", Type: String, Description: "Class of ClusterSPIFFEIDs that the cluster's own SPIRE controller manager watches; spire.mode existing only, empty for none"},
	{Key: "spire.trustDomain", Type: String, Default: "example.org", Description: "SPIFFE trust domain"},
	{Key: "spire.clusterName", Type: String, Default: "spire-falco", Description: "Name of the cluster for node attestation"},
	{Key: "spire.chartVersion", Type: String, Default: charts.Default(charts.SPIREName), Description: "Version of the chart spire; a running SPIRE goes up or down by one minor version at a time"},
	{Key: "spire.crdsChartVersion", Type: String, Description: "Version of the chart spire-crds; empty for the one that goes with the chart spire, which is the only one allowed"},
	{Key: "spire.persistence", Type: String, Default: PersistencePVC, Description: "Where the SPIRE server keeps its data: pvc (needs a default StorageClass) or emptyDir (a restart makes a new CA)"},
	{Key: "spire.agentSocketPath", Type: String, Default: DefaultAgentSocketPath, Description: "Path on the node of the agent's Workload API socket"},
	{Key: SPIREValuesKey, Type: Object, Default: "{}", Description: valuesOfChart(charts.SPIREName)},
	{Key: SPIRECRDsValuesKey, Type: Object, Default: "{}", Description: valuesOfChart(charts.SPIRECRDsName)},

	{Key: "falco.chartVersion", Type: String, Default: charts.DefaultFalcoVersion, Description: "Version of the chart falco"},
	{Key: "falco.namespace", Type: String, Default: "falco", Description: "Namespace of Falco and Falcosidekick"},
	{Key: "falco.driver", Type: String, Default: DriverModernEBPF, Description: "Driver of Falco; modern_ebpf is the only one supported"},
	{Key: "falco.priority", Type: String, Default: "debug", Description: "Lowest priority of rules that Falco loads: " + priorities},
	{Key: "falco.requests.cpu", Type: String, Default: "100m", Description: "CPU that each Falco pod requests"},
	{Key: "falco.requests.memory", Type: String, Default: "256Mi", Description: "Memory that each Falco pod requests"},
	{Key: "falco.limits.cpu", Type: String, Default: "500m", Description: "CPU limit of each Falco pod; too low a limit drops events"},
	{Key: "falco.limits.memory", Type: String, Default: "512Mi", Description: "Memory limit of each Falco pod"},
	{Key: "falco.bufferPreset", Type: Integer, Default: "4", Description: "Size of the buffer between kernel and Falco, preset 1 (1 MB) to 10 (512 MB); 4 is 8 MB"},
	{Key: "falco.leastPrivileged", Type: Boolean, Default: "false", Description: "Run Falco with four capabilities (BPF, PERFMON, SYS_RESOURCE, SYS_PTRACE) in place of privileged; the nodes' runtime must be able to grant them"},
	{Key: "falco.allowedProcesses", Type: Strings, Default: "[]", Description: "Absolute paths of further executables that may use the agent socket"},
	{Key: "falco.extraRules", Type: Strings, Default: "[]", Description: "Paths of further Falco rule files, checked with ours and loaded after them"},
	{Key: "falco.fileOutput", Type: String, Description: "File on each node, below /var/log, that also gets every alert; its directory is made and mounted into Falco's pod; empty for none"},
	{Key: "falco.syslogOutput", Type: Boolean, Default: "false", Description: "Send every alert to the node's syslog too"},
	{Key: "falco.metrics", Type: Boolean, Default: "true", Description: "Serve Falco's own metrics for Prometheus"},
	{Key: "falco.serviceMonitor", Type: Boolean, Default: "false", Description: "Make a ServiceMonitor for these metrics; the cluster must have its CRD"},
	{Key: "falco.dashboard", Type: Boolean, Default: "false", Description: "Make a ConfigMap with a Grafana dashboard of alerts, drops and cost"},
	{Key: FalcoValuesKey, Type: Object, Default: "{}", Description: valuesOfChart(charts.FalcoName)},

	{Key: "falcosidekick.chartVersion", Type: String, Default: charts.Default(charts.FalcosidekickName), Description: "Version of the chart falcosidekick"},
	{Key: "falcosidekick.slack.webhookUrl", Type: String, Secret: true, Description: "Slack incoming webhook; empty for no Slack"},
	{Key: "falcosidekick.slack.minimumPriority", Type: String, Default: "warning", Description: "Lowest priority sent to Slack: " + priorities},
	{Key: "falcosidekick.elasticsearch.hostPort", Type: String, Description: "URL of Elasticsearch, such as http://elasticsearch:9200; empty for none"},
	{Key: "falcosidekick.elasticsearch.index", Type: String, Default: "falco", Description: "Elasticsearch index"},
	{Key: "falcosidekick.elasticsearch.type", Type: String, Default: "_doc", Description: "Elasticsearch document type"},
	{Key: "falcosidekick.elasticsearch.minimumPriority", Type: String, Default: "notice", Description: "Lowest priority sent to Elasticsearch: " + priorities},
	{Key: "falcosidekick.elasticsearch.username", Type: String, Description: "Elasticsearch user; empty for none"},
	{Key: "falcosidekick.elasticsearch.password", Type: String, Secret: true, Description: "Password of the Elasticsearch user"},
	{Key: OutputsKey, Type: Object, Default: "{}", Description: "Further outputs of Falcosidekick, from an output's name to its keys as the chart has them below config; see docs/outputs.md"},
	{Key: FalcosidekickValuesKey, Type: Object, Default: "{}", Description: valuesOfChart(charts.FalcosidekickName)},
	{Key: "falcosidekick.ui.enabled", Type: Boolean, Default: "false", Description: "Deploy the Falcosidekick UI"},
	{Key: "falcosidekick.ui.user", Type: String, Default: "admin", Description: "User of the UI"},
	{Key: "falcosidekick.ui.password", Type: String, Secret: true, Description: "Password of the UI's user; required when the UI is on, there is no default"},

	{Key: "hosts.list", Type: Objects, Default: "[]", Description: "Hosts without Kubernetes that get Falco too: name, address, port, user and hostKey, or name and local; see docs/hosts.md"},
	{Key: "hosts.privateKeys", Type: String, Secret: true, Description: "JSON object from the name of a host to the private key (PEM) of its user; one for each host that is not local"},
	{Key: "hosts.alertFile", Type: String, Default: "/var/log/falco/events.json", Description: "File on each host that gets every alert, rotated; empty for none"},
	{Key: "hosts.rotateMB", Type: Integer, Default: "100", Description: "Size in MB at which that file is rotated"},
	{Key: "hosts.rotateKeep", Type: Integer, Default: "7", Description: "Rotated files that are kept"},
	{Key: "hosts.syslog", Type: Boolean, Default: "true", Description: "Send every alert to the host's syslog"},
	{Key: "hosts.httpOutput", Type: String, Description: "URL that hosts post alerts to, such as a Falcosidekick's that they can reach; empty for none"},

	{Key: "charts.falcoRepository", Type: String, Default: charts.FalcoRepository, Description: "Helm repository of falco and falcosidekick, for a mirror"},
	{Key: "charts.spireRepository", Type: String, Default: charts.SPIRERepository, Description: "Helm repository of spire and spire-crds, for a mirror"},

	{Key: "workloads", Type: Objects, Default: defaultWorkloads, Description: "The workloads: identity, enforcement and what Falco takes for normal; see docs/settings.md"},
	{Key: "image.repository", Type: String, Description: "Repository, such as ghcr.io/you/mtls-server, that the project's own image is pushed to; empty: it is loaded into Minikube"},
}

// defaultWorkloads is the mtls-server of the guide on 8443, inbound only, and the one client that may call it.
const defaultWorkloads = `[{"name":"mtls-server","namespace":"mtls","port":8443,"peers":["mtls-client"]},` +
	`{"name":"mtls-client","namespace":"mtls","env":{"SERVER_ADDRESS":"mtls-server.mtls.svc:8443","CLIENT_RATE":"1"}}]`

// valuesOfChart describes a setting with values of a chart.
func valuesOfChart(name string) string {
	return "Further values of the chart " + name + ", merged over the stack's; each key is checked against the chart, see docs/values.md"
}

func declared(key string) (Setting, bool) {
	for _, s := range Declared {
		if s.Key == key {
			return s, true
		}
	}
	return Setting{}, false
}
