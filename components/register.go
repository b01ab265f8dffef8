package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// typeToken is the Pulumi type of a component of this project.
func typeToken(name string) string {
	return "spire-falco:components:" + name
}

// with copies options before it appends: the caller's slice may have room behind it.
func with(opts []pulumi.ResourceOption, more ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return append(append(make([]pulumi.ResourceOption, 0, len(opts)+len(more)), opts...), more...)
}

// toInput makes a Pulumi input of plain values, keeping what is an input already.
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
		panic(fmt.Sprintf("components: a value of type %T is not plain", v)) // a programming error that every test run meets
	}
}
