// Package properties converts what Pulumi's engine and SDK have into the plain resources that package policies judges.
package properties

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"spire-falco/policy/policies"
)

// Plain converts properties into plain values: computed ones become policies.Unknown, secret ones policies.Secret, text assets
// their text, and other assets policies.Unknown.
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
		if a := v.AssetValue(); a != nil && a.IsText() {
			return a.Text
		}
		return policies.Unknown{} // in a file or elsewhere: nobody has read it
	case v.IsResourceReference():
		return string(v.ResourceReferenceValue().URN)
	case v.IsArchive():
		return policies.Unknown{}
	case v.IsNull():
		return nil
	}
	return v.V // bool, float64, string
}

// masked is what the engine's events show of a secret.
const masked = "[secret]"

// elided is what the engine's events show of the text of an asset; its hash they keep.
const elided = "<contents elided>"

// FromEvent returns the resource that the engine reports in an event. Events do not say what a resource depends on, and
// show a mask in place of secrets and of the texts of assets. texts are those that the program gives itself: an asset is
// recognised by its hash, and any other one is unknown.
func FromEvent(m apitype.StepEventStateMetadata, texts ...string) policies.Resource {
	known := map[string]string{}
	for _, text := range texts {
		sum := sha256.Sum256([]byte(text))
		known[hex.EncodeToString(sum[:])] = text
	}
	inputs, _ := event(m.Inputs, known).(map[string]any)
	return policies.Resource{URN: m.URN, Type: m.Type, Name: Name(m.URN), Inputs: inputs}
}

func event(v any, known map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		if sig, ok := v[resource.SigKey].(string); ok {
			switch sig {
			case resource.SecretSig:
				return policies.Secret{Value: policies.Unknown{}}
			case resource.AssetSig, resource.ArchiveSig:
				return assetText(v, known)
			}
		}
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = event(item, known)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = event(item, known)
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

func assetText(v map[string]any, known map[string]string) any {
	text, ok := v["text"].(string)
	if ok && text != elided {
		return text
	}
	hash, _ := v["hash"].(string)
	if text, ok := known[hash]; ok {
		return text
	}
	return policies.Unknown{}
}

// Name is the resource's name at the end of a URN.
func Name(urn string) string {
	if i := strings.LastIndex(urn, "::"); i >= 0 {
		return urn[i+len("::"):]
	}
	return urn
}
