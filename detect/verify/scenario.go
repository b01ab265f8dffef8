package verify

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// actor is the container that performs an attack.
type actor string

const (
	// toolbox is a pod with tools that has the workload's label and namespace. Exec into it represents exec into the
	// workload's own pod, whose image has no tools.
	toolbox actor = "toolbox"
	// server is a copy of the workload's own pod that listens on another port.
	server actor = "server"
	// debugger is an ephemeral debug container in the copy.
	debugger actor = "debugger"
	// node is a privileged pod, from which an attack reaches the node itself.
	node actor = "node"
)

// Scenario is one attack and the rule that must detect it.
type Scenario struct {
	// ID is the scenario's name on the command line.
	ID string
	// Title says what is done.
	Title string
	// Rule is the rule that must fire.
	Rule string
	// Guide is the documented test that the scenario performs; empty for none.
	Guide string

	actor actor
	// command is run in the actor; nil when the actor's start is the attack.
	command func(env) []string
	// marker returns the text that one of the alert's fields must contain; nil for env.marker.
	marker func(env) string
	// onNode is true when the alert names no pod, because the attack left it for the node.
	onNode bool
}

// env has the values that the attacks of one run depend on.
type env struct {
	// marker identifies the scenario and the run.
	marker string
	// socket is the path of the agent's socket on the node, and workloadSocket that in a workload's container.
	socket, workloadSocket string
	// executable is the path of the workload's program in its image. In the toolbox pod it is a tool.
	executable string
	// port is a port that the workload does not declare; it differs between runs.
	port int
}

// moved runs a command on the node: in the root of every cgroup hierarchy, since Falco recognises containers by cgroup,
// and with the node's root directory. Only processes started after the move count as the node's, hence the second
// shell.
func moved(command string) []string {
	return []string{"sh", "-c", "cd " + hostRoot + "/sys/fs/cgroup; " +
		"for f in cgroup.procs */cgroup.procs; do { echo 0 >\"$f\"; } 2>/dev/null || :; done; " +
		"chroot " + hostRoot + " sh -c '" + command + "'"}
}

// hostRoot is the mount point of the node's root directory in the node pod.
const hostRoot = "/host"

// Scenarios returns all attacks in the order in which they are performed. Each does what an attacker does but changes
// nothing: it writes only its own files, sets values to what they are already, and discards what it reads.
func Scenarios() []Scenario {
	return []Scenario{
		{
			ID: "socket-node", Guide: "Test 1", Title: "cat of the agent's socket on the node",
			Rule: "Unauthorized Access to SPIRE Socket", actor: node, onNode: true,
			command: func(e env) []string { return moved("cat " + e.socket + " /" + e.marker) },
		},
		{
			ID: "socket-host-path", Title: "a pod that mounts the node's file system opens the socket",
			Rule: "Unauthorized Access to SPIRE Socket", actor: node,
			command: func(e env) []string { return []string{"cat", hostRoot + e.socket, "/" + e.marker} },
		},
		{
			ID: "socket-csi", Title: "a tool in a labelled pod opens its Workload API socket",
			Rule: "Unauthorized Access to SPIRE Socket", actor: toolbox,
			command: func(e env) []string { return []string{"cat", e.workloadSocket, "/" + e.marker} },
		},
		{
			ID: "socket-directory", Title: "chmod of the socket's directory on the node, to its current mode",
			Rule: "SPIRE Socket Directory Tampering", actor: node, onNode: true,
			command: func(e env) []string {
				dir := path.Dir(e.socket)
				return moved(`chmod "$(stat -c %a ` + dir + `)" ` + dir + " /" + e.marker)
			},
		},
		{
			ID: "shell-exec", Guide: "Test 2", Title: "kubectl exec of a shell in a labelled pod",
			Rule: "Unexpected Shell Spawned in mTLS Container", actor: toolbox,
			command: func(e env) []string { return []string{"sh", "-c", ": " + e.marker} },
		},
		{
			ID: "shell-debug", Title: "an ephemeral debug container with a shell in the server's pod",
			Rule: "Unexpected Shell Spawned in mTLS Container", actor: debugger,
		},
		{
			ID: "child-process", Title: "kubectl exec of a tool in a labelled pod",
			Rule: "Unexpected Child Process in mTLS Container", actor: toolbox,
			command: func(e env) []string { return []string{"ls", "/proc/version", "/" + e.marker} },
		},
		{
			ID: "image", Title: "a tool at the path of the workload's program, in a container of another image",
			Rule: "Unexpected Child Process in mTLS Container", actor: toolbox,
			// busybox runs the tool that argv[0] names.
			command: func(e env) []string { return []string{"sh", "-c", "exec -a true " + e.executable + " /" + e.marker} },
		},
		{
			ID: "second-start", Title: "kubectl exec of the workload's own program in its pod",
			Rule: "Unexpected Child Process in mTLS Container", actor: server,
			// It rejects the argument and exits.
			command: func(e env) []string { return []string{e.executable, "/" + e.marker} },
		},
		{
			ID: "debugger", Title: "a program in a labelled pod attaches to a process, as a debugger does",
			Rule: "Debugger Attached to mTLS Process", actor: toolbox,
			command: func(e env) []string { return []string{"sh", "-c", attach("/etc/ssl/certs/" + e.marker)} },
		},
		{
			ID: "memory", Title: "a debug container opens the memory of the running server",
			Rule: "Sensitive File Read by mTLS Process", actor: debugger,
			command: func(e env) []string { return []string{"head", "-c", "0", "/proc/1/mem", "/" + e.marker} },
		},
		{
			ID: "sensitive-file", Guide: "Test 3", Title: "cat of /etc/shadow in a labelled pod",
			Rule: "Sensitive File Read by mTLS Process", actor: toolbox,
			command: func(e env) []string { return []string{"cat", "/etc/shadow", "/" + e.marker} },
		},
		{
			ID: "token", Title: "reading the service account token in a labelled pod",
			Rule: "Service Account Token Access in mTLS Container", actor: toolbox,
			command: func(e env) []string {
				return []string{"wc", "-c", "/var/run/secrets/kubernetes.io/serviceaccount/token", "/" + e.marker}
			},
		},
		{
			ID: "port-server", Guide: "Test 4", Title: "the server started with another SERVER_ADDRESS",
			Rule: "Unexpected Network Port Binding", actor: server,
			marker: func(e env) string { return strconv.Itoa(e.port) },
		},
		{
			ID: "port-tool", Title: "a tool in a labelled pod listens on a port",
			Rule: "Unexpected Network Port Binding", actor: toolbox,
			command: func(e env) []string {
				return []string{"timeout", "1", "nc", "-l", "-p", strconv.Itoa(e.port + 1)}
			},
			marker: func(e env) string { return strconv.Itoa(e.port + 1) },
		},
		{
			ID: "port-any", Title: "a tool in a labelled pod listens on a port that the kernel chooses",
			Rule: "Unexpected Network Port Binding", actor: toolbox,
			// On a connection nc would run a program of the marker's name, which does not exist.
			command: func(e env) []string { return []string{"timeout", "1", "nc", "-l", "-p", "0", "-e", "/" + e.marker} },
		},
		{
			ID: "outbound-udp", Title: "a tool in a labelled pod sends a datagram without connect, to the pod's own address",
			Rule: "Outbound Connection from mTLS Server", actor: toolbox,
			// It requests a file of the marker's name until it times out. Nobody answers.
			command: func(e env) []string {
				return []string{"sh", "-c", `timeout 1 tftp -g -r /` + e.marker + ` -l /dev/null "$(hostname -i | cut -d ' ' -f 1)"; true`}
			},
		},
		{
			ID: "outbound", Guide: "Custom rules, 5", Title: "a labelled pod connects to the Kubernetes API",
			Rule: "Outbound Connection from mTLS Server", actor: toolbox,
			command: func(e env) []string {
				// On a connection nc would run a program of the marker's name, which does not exist.
				return []string{"sh", "-c", `nc -w 2 "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" -e /` + e.marker}
			},
		},
		{
			ID: "certificate-node", Guide: "Troubleshooting", Title: "a certificate file written on the node",
			Rule: "Certificate File Modification", actor: node, onNode: true,
			command: func(e env) []string {
				file := nodeFile(e.marker)
				return moved("echo test >" + file + "; rm -f " + file)
			},
		},
		{
			ID: "certificate-delete", Guide: "Custom rules, 3", Title: "rm of a CA certificate (created for this) in a labelled pod",
			Rule: "Certificate File Modification", actor: toolbox,
			command: func(e env) []string {
				file := "/etc/ssl/certs/" + e.marker + ".crt"
				return []string{"sh", "-c", "echo test >" + file + "; rm " + file}
			},
		},
		{
			ID: "escape-root", Guide: "Custom rules, 4", Title: "through /proc/1/root to another root directory",
			Rule: "Container Escape Attempt via Proc", actor: toolbox,
			command: func(e env) []string { return []string{"cat", "/proc/1/root/proc/version", "/" + e.marker} },
		},
		{
			ID: "escape-core-pattern", Guide: "Custom rules, 4", Title: "opening core_pattern in a labelled pod",
			Rule: "Container Escape Attempt via Proc", actor: toolbox,
			command: func(e env) []string { return []string{"cat", "/proc/sys/kernel/core_pattern", "/" + e.marker} },
		},
		{
			ID: "escape-host-proc", Title: "through the node's /proc, mounted elsewhere",
			Rule: "Container Escape Attempt via Proc", actor: node,
			command: func(e env) []string { return []string{"cat", hostRoot + "/proc/1/root/proc/version", "/" + e.marker} },
		},
		{
			ID: "escape-io-uring", Title: "a privileged pod sets up io_uring, whose requests raise no event",
			Rule: "Container Escape Attempt via Proc", actor: node,
			command: func(e env) []string { return []string{"sh", "-c", ioUring("/tmp/" + e.marker)} },
		},
		{
			ID: "evasion-namespace", Title: "a tool in a labelled pod creates its own namespaces",
			Rule: "Detection Evasion Attempt", actor: toolbox,
			command: func(e env) []string { return []string{"unshare", "-m", "ls", "/" + e.marker} },
		},
		{
			ID: "escape-namespace", Title: "a privileged pod enters the node's mount namespace",
			Rule: "Container Escape Attempt via Proc", actor: node,
			command: func(e env) []string { return []string{"nsenter", "-t", "1", "-m", "--", "sh", "-c", ": " + e.marker} },
		},
	}
}

// nodeFilePrefix is the prefix of every file that a scenario creates on the node, so that leftovers can be removed.
const nodeFilePrefix = "/tmp/spire-falco-verify-"

func nodeFile(marker string) string { return nodeFilePrefix + marker + ".crt" }

// selectScenarios returns those with the given IDs, or all when none is given.
func selectScenarios(all []Scenario, ids []string) ([]Scenario, error) {
	if len(ids) == 0 {
		return all, nil
	}
	var out []Scenario
	known := make([]string, len(all))
	for i, s := range all {
		known[i] = s.ID
	}
	for _, id := range ids {
		found := false
		for _, s := range all {
			if s.ID == id {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("--only = %q: must be one of %s", id, strings.Join(known, ", "))
		}
	}
	return out, nil
}
