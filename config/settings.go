package config

import (
	"path/filepath"

	"spire-falco/charts"
)

// Values of cluster.mode.
const (
	ModeMinikube = "minikube"
	ModeExisting = "existing"
)

// ModeInstall is the value of spire.mode that makes the stack bring SPIRE itself; the other is ModeExisting.
const ModeInstall = "install"

// Names of the Helm releases, and so of what their charts make.
const (
	SPIRERelease         = "spire"
	SPIRECRDsRelease     = "spire-falco-crds" // of our own, so that Helm never takes over CRDs that another release left behind
	FalcoRelease         = "falco"
	FalcosidekickRelease = "falcosidekick"
)

// Values of spire.persistence.
const (
	PersistencePVC      = "pvc"
	PersistenceEmptyDir = "emptyDir"
)

// Upper bounds of hosts.rotateMB, in MB, and hosts.rotateKeep.
const (
	MaxRotateMB   = 100_000
	MaxRotateKeep = 1000
)

// DriverModernEBPF is the only Falco driver that this stack supports: no kernel module, no compiler, no headers.
const DriverModernEBPF = "modern_ebpf"

// minikubeDrivers are Minikube's, without ssh: it needs the address of a machine and a key, for which there is no setting.
var minikubeDrivers = []string{"docker", "podman", "kvm2", "qemu2", "virtualbox", "hyperv", "hyperkit", "vmware", "parallels", "none"}

// minikubeNetworks are those of Minikube's that enforce NetworkPolicies, on which the stack's separation of workloads
// rests: not its bridge, the default of virtual machines, nor flannel. kindnet does since its v1.3.0
// (kubernetes/minikube issue 19871).
var minikubeNetworks = []string{"kindnet", "calico", "cilium"}

// minikubeWords cannot be names of profiles (Minikube 1.38.1, package config).
var minikubeWords = []string{"start", "stop", "status", "delete", "config", "open", "profile", "addons", "cache", "logs"}

// minDiskMB is the smallest disk that Minikube 1.38.1 gives a node, in MB.
const minDiskMB = 2000

// MinikubeNoneProfile is the one profile that the driver none takes: it has this machine for its node.
const MinikubeNoneProfile = "minikube"

// Settings is the whole validated configuration of one stack.
type Settings struct {
	// EnableFalco tells whether Falco, Falcosidekick and the rules are deployed.
	EnableFalco bool
	Cluster     Cluster
	SPIRE       SPIRE
	Falco       Falco
	Sidekick    Falcosidekick
	Hosts       Hosts
	// Workloads in the order of the settings; names are unique.
	Workloads []Workload
	// ImageRepository is where the project's own image is pushed to; empty means that it is loaded into Minikube.
	ImageRepository string
	// Warnings are what a person should know before going on, such as a chart version that was replaced.
	Warnings []string
}

// Cluster says which Kubernetes the stack runs on.
type Cluster struct {
	// Mode is ModeMinikube or ModeExisting.
	Mode string
	// Kubeconfig is the path of the kubeconfig. It is known before the cluster exists. A relative path is taken from the
	// project's folder.
	Kubeconfig string
	// Context in the kubeconfig.
	Context string
	// Testing allows verify to attack the stack.
	Testing  bool
	Minikube Minikube
}

// KubeconfigPath is the path of the kubeconfig for a program that does not run in the project's folder, which is dir.
func (c Cluster) KubeconfigPath(dir string) string {
	if filepath.IsAbs(c.Kubeconfig) {
		return c.Kubeconfig
	}
	return filepath.Join(dir, c.Kubeconfig)
}

// Minikube describes the node of a ModeMinikube cluster.
type Minikube struct {
	Profile string
	Driver  string
	CPUs    int
	// MemoryMiB is the node's memory in MiB.
	MemoryMiB int
	// Disk is the node's disk in Minikube's own form, such as 20g.
	Disk string
	// CNI is the node's network.
	CNI string
	// KubernetesVersion has the form v1.36.3.
	KubernetesVersion string
}

// SPIRE describes the identity provider.
type SPIRE struct {
	// Install tells whether the stack brings SPIRE; otherwise the cluster's own is used and left alone.
	Install   bool
	Namespace string
	// ClassName of the ClusterSPIFFEIDs; empty for none.
	ClassName   string
	TrustDomain string
	ClusterName string
	Chart       charts.SPIRE
	CRDs        charts.Chart
	// Persistence of the server's data: PersistencePVC or PersistenceEmptyDir.
	Persistence string
	// AgentSocketPath is the Workload API socket on the node.
	AgentSocketPath string
	// Values and CRDValues are the user's values of the two charts, checked.
	Values, CRDValues map[string]any
}

// Falco describes the runtime detection.
type Falco struct {
	Chart     charts.Falco
	Namespace string
	Driver    string
	// Priority is the lowest priority of rules that Falco loads.
	Priority string
	Requests Resources
	Limits   Resources
	// BufferPreset is Falco's syscall buffer size preset, 1 to 10.
	BufferPreset int
	// LeastPrivileged runs Falco with capabilities in place of privileged.
	LeastPrivileged bool
	// AllowedProcesses are absolute paths of further executables that may use the agent socket.
	AllowedProcesses []string
	// ExtraRules are paths of the user's own rule files.
	ExtraRules []string
	// FileOutput is a path inside the pod; empty for none.
	FileOutput     string
	SyslogOutput   bool
	Metrics        bool
	ServiceMonitor bool
	Dashboard      bool
	// Values are the user's values of the chart, checked.
	Values map[string]any
}

// Resources are Kubernetes quantities of CPU and memory.
type Resources struct{ CPU, Memory string }

// Falcosidekick describes where alerts go.
type Falcosidekick struct {
	Chart charts.Chart
	// Outputs has the keys of every output that is on, in the order of their names.
	Outputs []OutputValue
	UI      UI
	// Values are the user's values of the chart, checked.
	Values map[string]any
}

// UI of Falcosidekick.
type UI struct {
	Enabled bool
	User    string
}

// Hosts are the machines without Kubernetes and how Falco runs on them.
type Hosts struct {
	// List in the order of the settings; empty means none.
	List []Host
	// AlertFile on each host; empty for none.
	AlertFile string
	// RotateMB is the size in MB at which AlertFile is rotated; RotateKeep is how many rotated files are kept.
	RotateMB, RotateKeep int
	Syslog               bool
	// HTTPOutput is the URL that alerts are posted to; empty for none.
	HTTPOutput string
}

// Host is one machine without Kubernetes. Its private key is in the secret setting HostKeysKey.
type Host struct {
	Name    string `json:"name"`
	Local   bool   `json:"local,omitempty"`
	Address string `json:"address,omitempty"`
	Port    int    `json:"port,omitempty"`
	User    string `json:"user,omitempty"`
	HostKey string `json:"hostKey,omitempty"`
}

// Keys of the settings whose values are secret. Settings never holds these values: a program reads them from Pulumi as
// secret outputs.
const (
	SlackWebhookKey          = "falcosidekick.slack.webhookUrl"
	ElasticsearchPasswordKey = "falcosidekick.elasticsearch.password"
	UIPasswordKey            = "falcosidekick.ui.password"
	HostKeysKey              = "hosts.privateKeys"
)

// Workload is one workload, declared once: its identity, its enforcement and what Falco takes for normal come from it.
type Workload struct {
	// Name of the Deployment, ServiceAccount, Service and the label app.
	Name string `json:"name"`
	// Namespace of its own or shared with other workloads.
	Namespace string `json:"namespace"`
	// Image with tag or digest; empty means the image of mtls-server that the project builds.
	Image string `json:"image,omitempty"`
	// Executable is the absolute path of its program in the image.
	Executable string `json:"executable,omitempty"`
	// Args of the program.
	Args []string `json:"args,omitempty"`
	// Env holds further environment variables.
	Env map[string]string `json:"env,omitempty"`
	// Port is the one TCP port that it may listen on; 0 for a workload that does not listen.
	Port int `json:"port,omitempty"`
	// Replicas of the Deployment.
	Replicas int `json:"replicas,omitempty"`
	// Peers are names of declared workloads that may connect to it and that it authorises by SPIFFE ID.
	Peers []string `json:"peers,omitempty"`
	// Egress lists what it may connect to besides the workloads that have it as a peer.
	Egress []Endpoint `json:"egress,omitempty"`
	// Health is the command that tells whether it is ready; for the project's own server image: EXECUTABLE health.
	Health []string `json:"health,omitempty"`
	// SocketPath of the Workload API inside the container.
	SocketPath string `json:"socketPath,omitempty"`
	// Children are absolute paths of further executables that it may run.
	Children []string `json:"children,omitempty"`
	// CertificateDirs are absolute directories in which it may write certificates and keys.
	CertificateDirs []string `json:"certificateDirs,omitempty"`
}

// Endpoint is one allowed destination of a workload.
type Endpoint struct {
	// CIDR such as 10.0.0.0/8.
	CIDR string `json:"cidr"`
	Port int    `json:"port"`
	// Protocol is tcp or udp.
	Protocol string `json:"protocol"`
}

// SPIFFEID is the identity of the workload in the trust domain.
func (w Workload) SPIFFEID(trustDomain string) string {
	return "spiffe://" + trustDomain + "/ns/" + w.Namespace + "/sa/" + w.Name
}
