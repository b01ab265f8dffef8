package components

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// typeToken returns the Pulumi type of a component of this project.
func typeToken(name string) string {
	return "spire-falco:components:" + name
}

// register registers the component c, its children with build, and the outputs that build returns. Without outputs
// Pulumi would take the component for unfinished.
func register[C pulumi.ComponentResource](
	ctx *pulumi.Context, kind, name string, c C, opts []pulumi.ResourceOption, build func() (pulumi.Map, error),
) (C, error) {
	var none C
	if err := ctx.RegisterComponentResource(typeToken(kind), name, c, opts...); err != nil {
		return none, fmt.Errorf("register the component %s %s: %w", kind, name, err)
	}
	outputs, err := build()
	if err != nil {
		return none, err
	}
	if err := ctx.RegisterResourceOutputs(c, outputs); err != nil {
		return none, fmt.Errorf("register the outputs of %s %s: %w", kind, name, err)
	}
	return c, nil
}

// with returns opts and more in a new slice: append could write into the caller's.
func with(opts []pulumi.ResourceOption, more ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return slices.Concat(opts, more)
}

// toInput converts plain values to a Pulumi input; inputs are kept.
func toInput(v any) pulumi.Input {
	switch v := v.(type) {
	case pulumi.Input:
		return v
	case map[string]any:
		m := make(pulumi.Map, len(v))
		for k, item := range v {
			m[k] = toInput(item)
		}
		return m
	case []any:
		a := make(pulumi.Array, len(v))
		for i, item := range v {
			a[i] = toInput(item)
		}
		return a
	case string:
		return pulumi.String(v)
	case bool:
		return pulumi.Bool(v)
	case int:
		return pulumi.Int(v)
	case float64:
		return pulumi.Float64(v)
	default:
		panic(fmt.Sprintf("components: a value of type %T is not plain", v)) // a programming error that every test would find
	}
}
