package detection_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/falco/condition"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

const (
	socketRule      = "Unauthorized Access to SPIRE Socket"
	tamperRule      = "SPIRE Socket Directory Tampering"
	shellRule       = "Unexpected Shell Spawned in mTLS Container"
	childRule       = "Unexpected Child Process in mTLS Container"
	debugRule       = "Debugger Attached to mTLS Process"
	certificateRule = "Certificate File Modification"
	escapeRule      = "Container Escape Attempt via Proc"
	evasionRule     = "Detection Evasion Attempt"
	sensitiveRule   = "Sensitive File Read by mTLS Process"
	tokenRule       = "Service Account Token Access in mTLS Container"
	portRule        = "Unexpected Network Port Binding"
	egressRule      = "Outbound Connection from mTLS Server"
)

// recorded is one event of a recording.
type recorded struct {
	recording string
	num       int64
}

// Recorded events that the settings are tried on.
var (
	catOpensSocket    = recorded{"A1", 62065}  // on the node
	socatConnects     = recorded{"A2", 83776}  // on the node
	evilFailsConnect  = recorded{"A5", 173328} // in a container, at /spiffe-workload-api/api.sock
	serverConnects    = recorded{"N2", 880702} // mtls-server to the agent
	agentConnects     = recorded{"N3", 991469} // spire-agent to itself
	agentUnlinks      = recorded{"N3", 971752} // spire-agent removes its socket
	socketChmod       = recorded{"G3", 465810} // on the node
	serverBinds9000   = recorded{"C1", 200688}
	serverBinds8443   = recorded{"N2", 914907}
	serverDials80     = recorded{"F1", 56318}   // 10.244.0.32:80
	serverAsksName    = recorded{"F2", 123657}  // 10.96.0.10:53, UDP
	bashStarts        = recorded{"B1", 178009}  // in the pod of mtls-server
	lsStarts          = recorded{"B2", 203522}  // in the pod of mtls-server, /bin/busybox
	certificateWriten = recorded{"B4", 301315}  // /tmp/dropped.crt by mtls-server
	shadowRead        = recorded{"G1", 436410}  // in the pod of mtls-server
	tokenRead         = recorded{"G2", 453503}  // in the pod of mtls-server
	gdbAttaches       = recorded{"H1", 121274}  // on the node, to mtls-server
	exchanged         = recorded{"D04", 153100} // on the node, the parent of the socket's directory
	mountsOver        = recorded{"C05", 476755} // on the node, over a certificate
	fchmodat2         = recorded{"D02", 151560} // on the node
)

// sends makes a datagram that is sent without a connection.
var sends = fields{"evt.type": "sendto", "evt.rawres": 9}

// fields are changes to an event: a text, a number or a truth value; nil takes the field away.
type fields = map[string]any

// Each setting changes what the rules take for normal, and nothing else.
func TestSettings(t *testing.T) {
	t.Parallel()
	server := func(change func(*config.Workload)) func(*rules.Inputs) {
		return func(in *rules.Inputs) { change(&in.Workloads[0]) }
	}
	otherSocket := func(in *rules.Inputs) { in.AgentSocketPath = "/run/spire/sockets/agent.sock" }
	egress := func(es ...config.Endpoint) func(*rules.Inputs) {
		return server(func(w *config.Workload) { w.Egress = es })
	}
	shop := func(in *rules.Inputs) {
		in.Workloads = append(in.Workloads, config.Workload{
			Name: "orders", Namespace: "shop", Port: 9443, Executable: "/orders",
			Egress: []config.Endpoint{{CIDR: "10.244.0.0/16", Port: 80, Protocol: "tcp"}},
		})
	}
	inShop := fields{"k8s.ns.name": "shop", "k8s.pod.label.app": "orders", "container.name": "orders", "proc.exepath": "/orders"}
	const registry = "registry.example.org:5000/acme/server"
	image := func(image string) func(*rules.Inputs) {
		return server(func(w *config.Workload) { w.Image = image })
	}
	digest := "sha256:" + strings.Repeat("0a", 32)
	pinned := func(change func(*config.Workload)) func(*rules.Inputs) {
		return server(func(w *config.Workload) {
			w.Image = registry + ":1.2@" + digest
			change(w)
		})
	}
	as := func(*config.Workload) {}
	first := fields{"proc.exepath": "/mtls-server", "proc.vpid": 1}
	moved := func(in *rules.Inputs) { in.AgentSocketPath = "/run/spire/agent-sockets/api.sock" }
	none := func(in *rules.Inputs) { in.Workloads = nil }
	for name, tc := range map[string]struct {
		change func(*rules.Inputs)
		event  recorded
		set    fields
		fires  string
	}{
		"another agent socket is watched":                               {otherSocket, socatConnects, fields{"fd.name": "ffff->ffff /run/spire/sockets/agent.sock"}, socketRule},
		"and the one of the default is not":                             {otherSocket, socatConnects, nil, ""},
		"opening another agent socket":                                  {otherSocket, catOpensSocket, fields{"fd.name": "/run/spire/sockets/other"}, socketRule},
		"opening the one of the default":                                {otherSocket, catOpensSocket, fields{"fd.name": "/tmp/spire-agent/public/socket"}, ""},
		"another socket's name in a foreign mount":                      {otherSocket, catOpensSocket, fields{"fd.name": "/mnt/x/agent.sock"}, socketRule},
		"another socket's directory is watched":                         {otherSocket, socketChmod, fields{"evt.args": "res=0 filename=/host/run/spire/sockets mode=0777"}, tamperRule},
		"and the directory of the default is not":                       {otherSocket, socketChmod, nil, ""},
		"another place of the socket in containers":                     {server(func(w *config.Workload) { w.SocketPath = "/run/api/api.sock" }), evilFailsConnect, fields{"evt.arg.fd": "<u>/run/api/api.sock"}, socketRule},
		"the same on newer Falco":                                       {server(func(w *config.Workload) { w.SocketPath = "/run/api/api.sock" }), evilFailsConnect, fields{"evt.arg.fd": "<u>", "evt.arg.addr": "/run/api/x"}, socketRule},
		"which is nothing by default":                                   {nil, evilFailsConnect, fields{"evt.arg.fd": "<u>/run/api/api.sock"}, ""},
		"the chart's agent binds its own path wherever the node has it": {moved, socatConnects, nil, socketRule},
		"an agent on a host binds the node's path":                      {moved, socatConnects, fields{"fd.name": "ffff->ffff /run/spire/agent-sockets/api.sock"}, socketRule},
		"the parent of another agent socket is moved away":              {moved, exchanged, fields{"evt.arg.oldpath": "/run/spire", "evt.args": "x"}, tamperRule},
		"the parent of the default is moved away":                       {moved, exchanged, fields{"evt.args": "x"}, ""},
		"a mount over another agent socket's directory":                 {moved, mountsOver, fields{"evt.arg.dir": "/run/spire/agent-sockets"}, tamperRule},
		"a mount over its parent":                                       {moved, mountsOver, fields{"evt.arg.dir": "/run/spire"}, tamperRule},
		"fchmodat2 of another agent socket's directory":                 {moved, fchmodat2, fields{"proc.args": "777 /run/spire/agent-sockets"}, tamperRule},
		"a mount over a program that the settings allow":                {func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/usr/bin/socat"} }, mountsOver, fields{"evt.arg.dir": "/usr/bin/socat"}, evasionRule},
		"the declared image":                                            {image(registry), lsStarts, merged(first, fields{"container.image.repository": registry}), ""},
		"the declared image has a tag and no registry":                  {image("acme/server:1.2"), lsStarts, merged(first, fields{"container.image.repository": "docker.io/acme/server"}), ""},
		"the declared image is one of the registry's own":               {image("server:1.2"), lsStarts, merged(first, fields{"container.image.repository": "docker.io/library/server"}), ""},
		"the declared image is of the machine":                          {image("localhost/server"), lsStarts, merged(first, fields{"container.image.repository": "localhost/server"}), ""},
		"another image than the declared one":                           {server(func(w *config.Workload) { w.Image, w.Namespace = registry, "pay" }), lsStarts, merged(first, fields{"k8s.ns.name": "pay"}), childRule},
		"the declared digest":                                           {pinned(as), lsStarts, merged(first, fields{"container.image.repository": registry, "container.image.digest": digest}), ""},
		"another digest of the declared image":                          {pinned(as), lsStarts, merged(first, fields{"container.image.repository": registry, "container.image.digest": "sha256:0b"}), childRule},
		"an image without the declared digest":                          {pinned(as), lsStarts, merged(first, fields{"container.image.repository": registry}), childRule},
		"the socket, from the declared digest":                          {pinned(as), serverConnects, fields{"container.image.repository": registry, "container.image.digest": digest}, ""},
		"the socket, from another digest":                               {pinned(as), serverConnects, fields{"container.image.repository": registry, "container.image.digest": "sha256:0b"}, socketRule},
		"the port, from another digest":                                 {pinned(as), serverBinds8443, fields{"container.image.repository": registry, "container.image.digest": "sha256:0b"}, portRule},
		"a child, from the declared digest":                             {pinned(func(w *config.Workload) { w.Children = []string{"/bin/busybox"} }), lsStarts, fields{"container.image.repository": registry, "container.image.digest": digest}, ""},
		"another health command":                                        {server(func(w *config.Workload) { w.Health = []string{"/bin/busybox", "nc", "-z", "localhost"} }), lsStarts, fields{"proc.args": "nc -z localhost"}, ""},
		"and the one of the default is none then":                       {server(func(w *config.Workload) { w.Health = []string{"/bin/busybox"} }), lsStarts, fields{"proc.exepath": "/mtls-server", "proc.args": "health"}, childRule},
		"no health command":                                             {server(func(w *config.Workload) { w.Health = nil }), lsStarts, fields{"proc.exepath": "/mtls-server", "proc.args": "health"}, childRule},
		"a container of the workload's name":                            {server(func(w *config.Workload) { w.Name = "main" }), serverConnects, fields{"container.name": "main"}, ""},
		"and of the default's name":                                     {server(func(w *config.Workload) { w.Name = "main" }), serverConnects, nil, socketRule},
		"UDP where it is declared":                                      {egress(config.Endpoint{CIDR: "10.0.0.0/8", Port: 53, Protocol: "udp"}), serverAsksName, sends, ""},
		"UDP where TCP is declared":                                     {egress(config.Endpoint{CIDR: "10.0.0.0/8", Port: 53, Protocol: "tcp"}), serverAsksName, sends, egressRule},
		"another image before its pod is known":                         {image(registry), serverConnects, fields{"k8s.ns.name": nil, "container.image.repository": registry}, ""},
		"an allowed process may connect":                                {func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/usr/bin/socat"} }, socatConnects, nil, ""},
		"but not from a writable layer":                                 {func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/usr/bin/socat"} }, socatConnects, fields{"proc.is_exe_upper_layer": true}, socketRule},
		"nor under another path":                                        {func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/usr/bin/socat"} }, socatConnects, fields{"proc.exepath": "/tmp/usr/bin/socat"}, socketRule},
		"SPIRE in another namespace":                                    {func(in *rules.Inputs) { in.SPIRENamespaces = []string{"identity"} }, agentConnects, fields{"k8s.ns.name": "identity"}, ""},
		"which is then not in that of the default":                      {func(in *rules.Inputs) { in.SPIRENamespaces = []string{"identity"} }, agentConnects, nil, socketRule},
		"and may not touch the socket from there":                       {func(in *rules.Inputs) { in.SPIRENamespaces = []string{"identity"} }, agentUnlinks, nil, tamperRule},
		"another executable may connect":                                {server(func(w *config.Workload) { w.Executable = "/app/server" }), serverConnects, fields{"proc.exepath": "/app/server"}, ""},
		"and the one of the default may not":                            {server(func(w *config.Workload) { w.Executable = "/app/server" }), serverConnects, nil, socketRule},
		"another executable before its pod is known":                    {server(func(w *config.Workload) { w.Executable = "/app/server" }), serverConnects, fields{"proc.exepath": "/app/server", "k8s.ns.name": nil}, ""},
		"another namespace is watched":                                  {server(func(w *config.Workload) { w.Namespace = "pay" }), bashStarts, fields{"k8s.ns.name": "pay"}, shellRule},
		"and that of the default is not":                                {server(func(w *config.Workload) { w.Namespace = "pay" }), bashStarts, nil, ""},
		"another label is watched":                                      {server(func(w *config.Workload) { w.Name = "gateway" }), bashStarts, fields{"k8s.pod.label.app": "gateway"}, shellRule},
		"and that of the default is not watched":                        {server(func(w *config.Workload) { w.Name = "gateway" }), bashStarts, nil, ""},
		"a declared child may start":                                    {server(func(w *config.Workload) { w.Children = []string{"/bin/busybox"} }), lsStarts, nil, ""},
		"even when it is a shell":                                       {server(func(w *config.Workload) { w.Children = []string{"/bin/bash"} }), bashStarts, nil, ""},
		"but not from a writable layer as well":                         {server(func(w *config.Workload) { w.Children = []string{"/bin/bash"} }), bashStarts, fields{"proc.is_exe_upper_layer": true}, shellRule},
		"and it may not use the socket":                                 {server(func(w *config.Workload) { w.Children = []string{"/bin/busybox"} }), serverConnects, fields{"proc.exepath": "/bin/busybox"}, socketRule},
		"another port may be bound":                                     {server(func(w *config.Workload) { w.Port = 9000 }), serverBinds9000, nil, ""},
		"and the one of the default may not be":                         {server(func(w *config.Workload) { w.Port = 9000 }), serverBinds8443, nil, portRule},
		"a workload that listens nowhere":                               {server(func(w *config.Workload) { w.Port = 0 }), serverBinds8443, nil, portRule},
		"a declared network may be reached":                             {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 80, Protocol: "tcp"}), serverDials80, nil, ""},
		"a declared address may be reached":                             {egress(config.Endpoint{CIDR: "10.244.0.32/32", Port: 80, Protocol: "tcp"}), serverDials80, nil, ""},
		"the second declared network may be reached":                    {egress(config.Endpoint{CIDR: "192.168.0.0/16", Port: 80, Protocol: "tcp"}, config.Endpoint{CIDR: "10.0.0.0/8", Port: 80, Protocol: "tcp"}), serverDials80, nil, ""},
		"any address may be reached":                                    {egress(config.Endpoint{CIDR: "0.0.0.0/0", Port: 80, Protocol: "tcp"}), serverDials80, nil, ""},
		"the network of all addresses is any address":                   {egress(config.Endpoint{CIDR: "0.0.0.0/0", Port: 80, Protocol: "tcp"}), serverDials80, nil, ""},
		"another network may not be reached":                            {egress(config.Endpoint{CIDR: "10.245.0.0/16", Port: 80, Protocol: "tcp"}), serverDials80, nil, egressRule},
		"another port of it may not be reached":                         {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 81, Protocol: "tcp"}), serverDials80, nil, egressRule},
		"by another protocol it may not be reached":                     {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 80, Protocol: "udp"}), serverDials80, nil, egressRule},
		"by another program it may not be reached":                      {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 80, Protocol: "tcp"}), serverDials80, fields{"proc.exepath": "/usr/bin/curl"}, egressRule},
		"by a copy of the program it may not":                           {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 80, Protocol: "tcp"}), serverDials80, fields{"proc.is_exe_upper_layer": true}, egressRule},
		"by the client it may not be reached":                           {egress(config.Endpoint{CIDR: "10.244.0.0/16", Port: 80, Protocol: "tcp"}), serverDials80, fields{"k8s.pod.label.app": "mtls-client"}, egressRule},
		"names may be asked for":                                        {egress(config.Endpoint{CIDR: "0.0.0.0/0", Port: 53, Protocol: "udp"}), serverAsksName, nil, ""},
		"not over the other protocol":                                   {egress(config.Endpoint{CIDR: "0.0.0.0/0", Port: 53, Protocol: "tcp"}), serverAsksName, nil, egressRule},
		"an IPv6 network may be reached":                                {egress(config.Endpoint{CIDR: "fd00::/8", Port: 80, Protocol: "tcp"}), serverDials80, fields{"fd.type": "ipv6", "fd.sip": "fd00::32", "fd.rip": "fd00::32"}, ""},
		"and another IPv6 network may not":                              {egress(config.Endpoint{CIDR: "fd00::/8", Port: 80, Protocol: "tcp"}), serverDials80, fields{"fd.type": "ipv6", "fd.sip": "2001:db8::1", "fd.rip": "2001:db8::1"}, egressRule},
		"certificates may be written where declared":                    {server(func(w *config.Workload) { w.CertificateDirs = []string{"/tmp"} }), certificateWriten, nil, ""},
		"but not elsewhere":                                             {server(func(w *config.Workload) { w.CertificateDirs = []string{"/run/certs"} }), certificateWriten, nil, certificateRule},
		"nor by another program":                                        {server(func(w *config.Workload) { w.CertificateDirs = []string{"/tmp"} }), certificateWriten, fields{"proc.exepath": "/bin/busybox"}, certificateRule},
		"nor by a copy of the program":                                  {server(func(w *config.Workload) { w.CertificateDirs = []string{"/tmp"} }), certificateWriten, fields{"proc.is_exe_upper_layer": true}, certificateRule},
		"nor in the pod of another workload":                            {server(func(w *config.Workload) { w.CertificateDirs = []string{"/tmp"} }), certificateWriten, fields{"k8s.pod.label.app": "mtls-client"}, certificateRule},
		"another executable is watched for debuggers":                   {server(func(w *config.Workload) { w.Executable = "/app/a-very-long-server-name" }), gdbAttaches, fields{"evt.arg.pid": "a-very-long-ser"}, debugRule},
		"and the one of the default is not watched":                     {server(func(w *config.Workload) { w.Executable = "/app/server" }), gdbAttaches, nil, ""},
		"two namespaces, each with its own program":                     {shop, serverConnects, inShop, ""},
		"which the other namespace may not use":                         {shop, serverConnects, fields{"proc.exepath": "/orders"}, socketRule},
		"nor start":                                                     {shop, lsStarts, fields{"proc.exepath": "/orders"}, childRule},
		"nor start under the name of a shell":                           {shop, bashStarts, fields{"proc.exepath": "/orders"}, shellRule},
		"nor bind its port with":                                        {shop, serverBinds9000, fields{"proc.exepath": "/orders", "fd.sport": 9443}, portRule},
		"its own port, in its own namespace":                            {shop, serverBinds9000, merged(inShop, fields{"fd.sport": 9443}), ""},
		"the other's port, in its own namespace":                        {shop, serverBinds8443, inShop, portRule},
		"its own destinations, in its own namespace":                    {shop, serverDials80, inShop, ""},
		"a label of the other namespace is not watched":                 {shop, bashStarts, fields{"k8s.pod.label.app": "orders"}, ""},
		"no workload: no shell":                                         {none, bashStarts, nil, ""},
		"no workload: no tool":                                          {none, lsStarts, nil, ""},
		"no workload: no file":                                          {none, shadowRead, nil, ""},
		"no workload: no token":                                         {none, tokenRead, nil, ""},
		"no workload: no port":                                          {none, serverBinds9000, nil, ""},
		"no workload: no connection":                                    {none, serverDials80, nil, ""},
		"no workload: the socket is watched all the same":               {none, socatConnects, nil, socketRule},
		"no workload: and no program is let through":                    {none, serverConnects, nil, socketRule},
		"no workload: not before its pod is known either":               {none, serverConnects, fields{"k8s.ns.name": nil}, socketRule},
		"by default the token raises an alert":                          {nil, tokenRead, nil, tokenRule},
		"by default the file raises an alert":                           {nil, shadowRead, nil, sensitiveRule},
		"by default the tool raises an alert":                           {nil, lsStarts, nil, childRule},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := rules.DefaultInputs()
			if tc.change != nil {
				tc.change(&in)
			}
			r, err := rules.Render(in)
			require.NoError(t, err)
			fired, err := load(t, r.Files()).fire(find(t, tc.event, tc.set))
			require.NoError(t, err)
			assert.Equal(t, tc.fires, fired)
		})
	}
}

func merged(a, b fields) fields {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// find returns a recorded event, changed.
func find(t *testing.T, r recorded, set fields) condition.Event {
	t.Helper()
	all, err := scenario.Load()
	require.NoError(t, err)
	for _, s := range all {
		if s.Group != scenario.Recording && s.Group != scenario.Act || s.Recording != r.recording {
			continue
		}
		for _, e := range s.Events {
			if scenario.Num(e) != r.num {
				continue
			}
			changed := maps.Clone(e.Fields())
			for f, x := range set {
				switch v := x.(type) {
				case nil:
					delete(changed, f)
				case string:
					changed[f] = condition.StringValue(v)
				case bool:
					changed[f] = condition.BoolValue(v)
				case int:
					changed[f] = condition.IntValue(int64(v))
				default:
					require.Failf(t, "no field value", "%s: %v", f, x)
				}
			}
			return condition.NewEvent(changed)
		}
	}
	require.Failf(t, "no such event", "%v", r)
	return condition.Event{}
}
