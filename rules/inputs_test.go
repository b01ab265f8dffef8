package rules_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/rules"
)

// with returns the default inputs, changed.
func with(change func(*rules.Inputs)) rules.Inputs {
	in := rules.DefaultInputs()
	change(&in)
	return in
}

func TestValidate(t *testing.T) {
	t.Parallel()
	server := func(change func(*rules.Workload)) func(*rules.Inputs) {
		return func(in *rules.Inputs) { change(&in.Workloads[0]) }
	}
	egress := func(e rules.Endpoint) func(*rules.Inputs) {
		return server(func(w *rules.Workload) { w.Egress = []rules.Endpoint{e} })
	}
	for name, tc := range map[string]struct {
		change func(*rules.Inputs)
		field  string // "" when the inputs are right
		want   string
	}{
		"the defaults are right":                            {change: func(*rules.Inputs) {}},
		"no workload is right":                              {change: func(in *rules.Inputs) { in.Workloads = nil }},
		"the newest Falco known is right":                   {change: func(in *rules.Inputs) { in.FalcoVersion = "0.44.1" }},
		"a workload that listens nowhere is right":          {change: server(func(w *rules.Workload) { w.Port = 0 })},
		"an IPv6 destination is right":                      {change: egress(rules.Endpoint{CIDR: "fd00::/8", Port: 443, Protocol: "TCP"})},
		"one address is right":                              {change: egress(rules.Endpoint{CIDR: "10.0.0.1", Port: 443, Protocol: "tcp"})},
		"an older Falco is refused":                         {change: func(in *rules.Inputs) { in.FalcoVersion = "0.39.2" }, field: "FalcoVersion", want: "a Falco that this project knows"},
		"a newer Falco is refused":                          {change: func(in *rules.Inputs) { in.FalcoVersion = "0.45.0" }, field: "FalcoVersion", want: "such as 0.44.1"},
		"no Falco version is refused":                       {change: func(in *rules.Inputs) { in.FalcoVersion = "" }, field: "FalcoVersion", want: "a Falco that this project knows"},
		"a relative socket path is refused":                 {change: func(in *rules.Inputs) { in.AgentSocketPath = "api.sock" }, field: "AgentSocketPath", want: "absolute"},
		"a socket without own directory is refused":         {change: func(in *rules.Inputs) { in.AgentSocketPath = "/run/api.sock" }, field: "AgentSocketPath", want: "two directories"},
		"dots in the socket path are refused":               {change: func(in *rules.Inputs) { in.AgentSocketPath = "/tmp/a/../b/c.sock" }, field: "AgentSocketPath", want: ".."},
		"no SPIRE namespace is refused":                     {change: func(in *rules.Inputs) { in.SPIRENamespaces = nil }, field: "SPIRENamespaces", want: "at least one"},
		"a wrong SPIRE namespace is refused":                {change: func(in *rules.Inputs) { in.SPIRENamespaces = []string{"Spire"} }, field: "SPIRENamespaces[0]", want: "lower-case"},
		"a bare process name is refused":                    {change: func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"socat"} }, field: "AllowedSocketProcesses[0]", want: "any binary of that name"},
		"a space in a path is refused":                      {change: func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/opt/my tool"} }, field: "AllowedSocketProcesses[0]", want: "absolute"},
		"a wrong namespace is refused":                      {change: server(func(w *rules.Workload) { w.Namespace = "-x" }), field: "Workloads[0].Namespace", want: "lower-case"},
		"SPIRE's namespace is refused for a workload":       {change: server(func(w *rules.Workload) { w.Namespace = "spire" }), field: "Workloads[0].Namespace", want: "not SPIRE's"},
		"a wrong label is refused":                          {change: server(func(w *rules.Workload) { w.Label = "a b" }), field: "Workloads[0].Label", want: "label value"},
		"a long label is refused":                           {change: server(func(w *rules.Workload) { w.Label = strings.Repeat("a", 64) }), field: "Workloads[0].Label", want: "63"},
		"the same pods twice are refused":                   {change: func(in *rules.Inputs) { in.Workloads[1].Label = "mtls-server" }, field: "Workloads[1].Label", want: "Workloads[0]"},
		"a port beyond the range is refused":                {change: server(func(w *rules.Workload) { w.Port = 70000 }), field: "Workloads[0].Port", want: "65535"},
		"a negative port is refused":                        {change: server(func(w *rules.Workload) { w.Port = -1 }), field: "Workloads[0].Port", want: "65535"},
		"a relative executable is refused":                  {change: server(func(w *rules.Workload) { w.Executable = "mtls-server" }), field: "Workloads[0].Executable", want: "absolute"},
		"no executable is refused":                          {change: server(func(w *rules.Workload) { w.Executable = "" }), field: "Workloads[0].Executable", want: "absolute"},
		"an image with a port, a tag and a digest is right": {change: server(func(w *rules.Workload) { w.Image = "r.example.org:5000/a/b:1@sha256:" + strings.Repeat("0", 64) })},
		"an image with a space is refused":                  {change: server(func(w *rules.Workload) { w.Image = "a b" }), field: "Workloads[0].Image", want: "image"},
		"an image with half a digest is refused":            {change: server(func(w *rules.Workload) { w.Image = "a@sha256:00" }), field: "Workloads[0].Image", want: "digest"},
		"a relative health command is refused":              {change: server(func(w *rules.Workload) { w.Health = []string{"health"} }), field: "Workloads[0].Health[0]", want: "absolute"},
		"a quoted health argument is refused":               {change: server(func(w *rules.Workload) { w.Health = []string{"/a", `x"`} }), field: "Workloads[0].Health[1]", want: "letters"},
		"a container name with a space is refused":          {change: server(func(w *rules.Workload) { w.Name = "a b" }), field: "Workloads[0].Name", want: "label value"},
		"a relative child is refused":                       {change: server(func(w *rules.Workload) { w.Children = []string{"/a", "b"} }), field: "Workloads[0].Children[1]", want: "absolute"},
		"a certificate directory / is refused":              {change: server(func(w *rules.Workload) { w.CertificateDirs = []string{"/"} }), field: "Workloads[0].CertificateDirs[0]", want: "absolute"},
		"a socket in the container's / is refused":          {change: server(func(w *rules.Workload) { w.SocketPath = "/api.sock" }), field: "Workloads[0].SocketPath", want: "directory of its own"},
		"a host name is refused as destination":             {change: egress(rules.Endpoint{CIDR: "db.example.org", Port: 1, Protocol: "tcp"}), field: "Workloads[0].Egress[0].CIDR", want: "names cannot"},
		"a zone in an address is refused":                   {change: egress(rules.Endpoint{CIDR: "fe80::1%eth0", Port: 1, Protocol: "tcp"}), field: "Workloads[0].Egress[0].CIDR", want: "IP address"},
		"port 0 is refused as destination":                  {change: egress(rules.Endpoint{Port: 0, Protocol: "tcp"}), field: "Workloads[0].Egress[0].Port", want: "1 to 65535"},
		"no protocol is refused":                            {change: egress(rules.Endpoint{Port: 1}), field: "Workloads[0].Egress[0].Protocol", want: "tcp or udp"},
		"an extra file not of YAML is refused":              {change: func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: "a.txt"}} }, field: "ExtraFiles[0].Name", want: ".yaml"},
		"an extra file in a folder is refused":              {change: func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: "../a.yaml"}} }, field: "ExtraFiles[0].Name", want: ".yaml"},
		"an extra file of our name is refused":              {change: func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: "spire-mtls-settings.yaml"}} }, field: "ExtraFiles[0].Name", want: "no other"},
		"two extra files of one name are refused":           {change: func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: "a.yaml"}, {Name: "a.yaml"}} }, field: "ExtraFiles[1].Name", want: "no other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := with(tc.change).Validate()
			if tc.field == "" {
				require.NoError(t, err)
				return
			}
			var bad *rules.InputError
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, tc.field, bad.Field)
			assert.Contains(t, bad.Want, tc.want)
			assert.Contains(t, err.Error(), tc.field)
		})
	}
}

func TestValidate_names_all_problems_at_once(t *testing.T) {
	t.Parallel()
	err := rules.Inputs{Workloads: []rules.Workload{{}}}.Validate()
	require.Error(t, err)
	for _, field := range []string{"FalcoVersion", "AgentSocketPath", "SPIRENamespaces", "Workloads[0].Namespace", "Workloads[0].Label", "Workloads[0].Executable"} {
		assert.Contains(t, err.Error(), field)
	}
}

func TestNoSettingBecomesSyntax(t *testing.T) {
	t.Parallel()
	evil := []string{
		`x" or evt.num > 0 or "`, "x') or (evt.num>0", "x\n- rule: y", "x: y", "[x", "{x}", "x,y", "x # y", "x)", "(x", "spire_mtls_shells)", "%proc.name",
		"x\\", "x\x00", "é", "x y", "&a", "*a", "!x", "x|", ">", "'x'",
	}
	for _, v := range evil {
		for name, change := range map[string]func(*rules.Inputs){
			"FalcoVersion":              func(in *rules.Inputs) { in.FalcoVersion = "0.40.0" + v },
			"AgentSocketPath":           func(in *rules.Inputs) { in.AgentSocketPath = "/tmp/a/" + v },
			"SPIRENamespaces":           func(in *rules.Inputs) { in.SPIRENamespaces = []string{v} },
			"AllowedSocketProcesses":    func(in *rules.Inputs) { in.AllowedSocketProcesses = []string{"/bin/" + v} },
			"Workloads.Namespace":       func(in *rules.Inputs) { in.Workloads[0].Namespace = v },
			"Workloads.Label":           func(in *rules.Inputs) { in.Workloads[0].Label = v },
			"Workloads.Executable":      func(in *rules.Inputs) { in.Workloads[0].Executable = "/" + v },
			"Workloads.Name":            func(in *rules.Inputs) { in.Workloads[0].Name = v },
			"Workloads.Image":           func(in *rules.Inputs) { in.Workloads[0].Image = "a/" + v },
			"Workloads.Health":          func(in *rules.Inputs) { in.Workloads[0].Health = []string{"/a", v} },
			"Workloads.Children":        func(in *rules.Inputs) { in.Workloads[0].Children = []string{"/" + v} },
			"Workloads.CertificateDirs": func(in *rules.Inputs) { in.Workloads[0].CertificateDirs = []string{"/" + v} },
			"Workloads.SocketPath":      func(in *rules.Inputs) { in.Workloads[0].SocketPath = "/a/" + v },
			"Workloads.Egress.CIDR":     func(in *rules.Inputs) { in.Workloads[0].Egress = []rules.Endpoint{{CIDR: v, Port: 1, Protocol: "tcp"}} },
			"Workloads.Egress.Protocol": func(in *rules.Inputs) { in.Workloads[0].Egress = []rules.Endpoint{{Port: 1, Protocol: v}} },
			"ExtraFiles":                func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: v + ".yaml"}} },
		} {
			_, err := rules.Render(with(change))
			if name == "Workloads.Health" && config.ValidArgument(v) {
				require.NoErrorf(t, err, "an argument is in quotes: %q", v)
				continue
			}
			var bad *rules.InputError
			assert.ErrorAsf(t, err, &bad, "%s with %q", name, v)
		}
	}
}
