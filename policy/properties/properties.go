// Package properties makes the plain resources that package policies judges out of what Pulumi's engine and SDK have.
package properties

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"spire-falco/policy/policies"
)

// Plain makes plain values of properties: computed ones become policies.Unknown, secret ones policies.Secret, text assets
// their text.
func Plain(m resource.PropertyMap) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[string(k)] = plain(v)
	}
	return out
}

func plain(v resource.PropertyValue) any {
	switch {
	case v.IsSecret():
		return policies.Secret{Value: plain(v.SecretValue().Element)}
	case v.IsComputed():
		return policies.Unknown{}
	case v.IsOutput():
		out := v.OutputValue()
		var inner any = policies.Unknown{}
		if out.Known {
			inner = plain(out.Element)
		}
		if out.Secret {
			return policies.Secret{Value: inner}
		}
		return inner
	case v.IsObject():
		return Plain(v.ObjectValue())
	case v.IsArray():
		items := make([]any, len(v.ArrayValue()))
		for i, item := range v.ArrayValue() {
			items[i] = plain(item)
		}
		return items
	case v.IsAsset():
		if a := v.AssetValue(); a != nil {
			return a.Text
		}
		return nil
	case v.IsResourceReference():
		return string(v.ResourceReferenceValue().URN)
	case v.IsNull(), v.IsArchive():
		return nil
	}
	return v.V // bool, float64, string
}

// masked is what the engine's events show of a secret.
const masked = "[secret]"

// FromEvent makes a resource of what the engine says about it in its events. Events do not tell what a resource depends
// on, and show a mask in place of secrets.
func FromEvent(m apitype.StepEventStateMetadata) policies.Resource {
	inputs, _ := event(m.Inputs).(map[string]any)
	return policies.Resource{URN: m.URN, Type: m.Type, Name: Name(m.URN), Inputs: inputs}
}

func event(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if sig, ok := v[resource.SigKey].(string); ok {
			switch sig {
			case resource.SecretSig:
				return policies.Secret{Value: policies.Unknown{}}
			case resource.AssetSig, resource.ArchiveSig:
				return v["text"]
			}
		}
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = event(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = event(item)
		}
		return out
	case string:
		switch v {
		case masked:
			return policies.Secret{Value: policies.Unknown{}}
		case plugin.UnknownStringValue, plugin.UnknownBoolValue, plugin.UnknownNumberValue, plugin.UnknownArrayValue,
			plugin.UnknownObjectValue, plugin.UnknownAssetValue, plugin.UnknownArchiveValue:
			return policies.Unknown{}
		}
	}
	return v
}

// Name is the resource's name at the end of a URN.
func Name(urn string) string {
	if i := strings.LastIndex(urn, "::"); i >= 0 {
		return urn[i+len("::"):]
	}
	return urn
}
