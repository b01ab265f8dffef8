package components

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/components/host"
	"spire-falco/config"
	"spire-falco/rules"
)

// HostArgs returns the arguments of Falco on the hosts of the settings, with the rules of the cluster; nil when Falco
// is off or there are no hosts. keys are the private keys by host.
func HostArgs(s *config.Settings, rendered *rules.Rendered, keys map[string]pulumi.StringInput) *host.Args {
	if !s.EnableFalco || len(s.Hosts.List) == 0 {
		return nil
	}
	args := &host.Args{
		FalcoVersion:     s.Falco.Chart.AppVersion,
		Rules:            rendered.Data(),
		RulesBeforeStock: rules.Names(rendered.BeforeStock),
		RulesAfterStock:  rules.Names(rendered.AfterStock),
		RulesHash:        rendered.Hash,
		AgentSocketPath:  s.SPIRE.AgentSocketPath,
		BufferPreset:     s.Falco.BufferPreset,
		Priority:         s.Falco.Priority,
		Output: host.Output{
			File: s.Hosts.AlertFile, RotateMB: s.Hosts.RotateMB, RotateKeep: s.Hosts.RotateKeep,
			Syslog: s.Hosts.Syslog, HTTP: s.Hosts.HTTPOutput,
		},
	}
	for _, h := range s.Hosts.List {
		one := host.Host{Name: h.Name, Local: h.Local, Address: h.Address, Port: h.Port, User: h.User, HostKey: h.HostKey}
		if key := keys[h.Name]; key != nil {
			one.PrivateKey = key
		} else if !h.Local {
			one.PrivateKey = pulumi.String("") // the value is unknown before the engine runs
		}
		args.Hosts = append(args.Hosts, one)
	}
	return args
}
