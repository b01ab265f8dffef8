package host

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// componentType is the component's Pulumi type.
const componentType = "spire-falco:components:Host"

// How often and for how many seconds a connection is tried. Few, because the provider also retries on a wrong key.
const (
	dialErrorLimit = 3
	perDialTimeout = 15
)

// Fleet is Falco on every machine of Args.
type Fleet struct {
	pulumi.ResourceState

	// Status maps a machine's name to what runs there: "falco=0.44.1 kernel=6.8.0-45-generic engine=modern_bpf
	// rules=HASH".
	Status pulumi.StringMapOutput `pulumi:"status"`
}

// New installs Falco on the machines. It returns an error with every problem before it registers anything.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Fleet, error) {
	if args == nil {
		return nil, fmt.Errorf("hosts %q: no arguments", name)
	}
	if err := args.Validate(); err != nil {
		return nil, fmt.Errorf("hosts %q: %w", name, err)
	}
	a := args.withDefaults()
	files, err := payload(a)
	if err != nil {
		return nil, fmt.Errorf("hosts %q: %w", name, err)
	}
	fleet := &Fleet{}
	if err := ctx.RegisterComponentResource(componentType, name, fleet, opts...); err != nil {
		return nil, fmt.Errorf("register hosts %q: %w", name, err)
	}
	status := pulumi.StringMap{}
	for i := range a.Hosts {
		out, err := newMachine(ctx, name, a, &a.Hosts[i], files, pulumi.Parent(fleet))
		if err != nil {
			return nil, err
		}
		status[a.Hosts[i].Name] = out
	}
	fleet.Status = status.ToStringMapOutput()
	if err := ctx.RegisterResourceOutputs(fleet, pulumi.Map{"status": fleet.Status}); err != nil {
		return nil, fmt.Errorf("register the outputs of hosts %q: %w", name, err)
	}
	return fleet, nil
}

// step is one command of a machine: its standard input, and the step that undoes it, if any.
type step struct{ name, stdin, remove string }

// stepsOf returns the steps of a machine in their order.
func stepsOf(owner string, a *Args, h *Host, files string) []step {
	who := slices.Clip(identity(owner, h.Name))
	base := script(append(who, packageSettings(a)...), "", checkSh, packageSh, baseSh)
	return []step{
		{stepCheck, base, ""},
		// Its delete runs last and is the whole removal, whatever the other steps have done.
		{stepBase, base, stepRemove},
		{stepPackage, base, ""},
		{stepFalco, script(append(who, falcoSettings(a)...), files, falcoSh), ""},
	}
}

// newMachine registers the steps of one machine, each after the one before, and returns the output of the last.
func newMachine(
	ctx *pulumi.Context, name string, a *Args, h *Host, files string, opts ...pulumi.ResourceOption,
) (pulumi.StringOutput, error) {
	var (
		out  pulumi.StringOutput
		last pulumi.Resource
	)
	for _, s := range stepsOf(ctx.Project()+"/"+ctx.Stack()+"/"+h.Name, a, h, files) {
		stepOpts := slices.Clone(opts)
		if last != nil {
			stepOpts = append(stepOpts, pulumi.DependsOn([]pulumi.Resource{last}))
		}
		var err error
		last, out, err = run(ctx, fmt.Sprintf("%s-%s-%s", name, h.Name, s.name), h, s, stepOpts)
		if err != nil {
			return pulumi.StringOutput{}, fmt.Errorf("host %q, step %s: %w", h.Name, s.name, err)
		}
	}
	return out, nil
}

// run registers one step. Its progress on standard error is shown; standard output is its result. The previous output
// is not put into the environment, because sshd would refuse each variable with a warning.
func run(
	ctx *pulumi.Context, name string, h *Host, s step, opts []pulumi.ResourceOption,
) (pulumi.Resource, pulumi.StringOutput, error) {
	var onDelete pulumi.StringPtrInput
	if s.remove != "" {
		onDelete = pulumi.String(command(s.remove))
	}
	if h.Local {
		c, err := local.NewCommand(ctx, name, &local.CommandArgs{
			Create: pulumi.String(command(s.name)), Delete: onDelete, Stdin: pulumi.String(s.stdin),
			Logging: local.LoggingStderr, AddPreviousOutputInEnv: pulumi.Bool(false),
		}, opts...)
		if err != nil {
			return nil, pulumi.StringOutput{}, err
		}
		return c, c.Stdout, nil
	}
	conn, err := connection(h)
	if err != nil {
		return nil, pulumi.StringOutput{}, err
	}
	c, err := remote.NewCommand(ctx, name, &remote.CommandArgs{
		Connection: conn,
		Create:     pulumi.String(command(s.name)), Delete: onDelete, Stdin: pulumi.String(s.stdin),
		Logging: remote.LoggingStderr, AddPreviousOutputInEnv: pulumi.Bool(false),
	}, opts...)
	if err != nil {
		return nil, pulumi.StringOutput{}, err
	}
	return c, c.Stdout, nil
}

func connection(h *Host) (remote.ConnectionArgs, error) {
	key, err := hostKey(h.HostKey)
	if err != nil {
		return remote.ConnectionArgs{}, err
	}
	c := remote.ConnectionArgs{
		Host:           pulumi.String(h.Address),
		Port:           pulumi.Float64(h.port()),
		User:           pulumi.String(h.User),
		PrivateKey:     secret(h.PrivateKey),
		HostKey:        pulumi.String(key),
		DialErrorLimit: pulumi.Int(dialErrorLimit),
		PerDialTimeout: pulumi.Int(perDialTimeout),
	}
	if h.PrivateKeyPassword != nil {
		c.PrivateKeyPassword = secret(h.PrivateKeyPassword)
	}
	return c, nil
}

func secret(s pulumi.StringInput) pulumi.StringPtrInput {
	return pulumi.ToSecret(s.ToStringOutput()).(pulumi.StringOutput).ToStringPtrOutput()
}

// withDefaults returns a copy of validated args with defaults filled in.
func (a *Args) withDefaults() *Args {
	c := *a
	fill(&c.BufferPreset, DefaultBufferPreset)
	fill(&c.Priority, DefaultPriority)
	fill(&c.WebserverPort, DefaultWebserverPort)
	fill(&c.StartTimeout, DefaultStartTimeout)
	fill(&c.Output.RotateMB, DefaultRotateMB)
	fill(&c.Output.RotateKeep, DefaultRotateKeep)
	if c.Repository == nil {
		c.Repository = &FalcoRepository
	}
	return &c
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
