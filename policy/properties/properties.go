// Package properties converts properties of Pulumi's engine and SDK to the plain resources that package policies
// checks.
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

// Plain converts properties to plain values: computed ones become policies.Unknown, secret ones policies.Secret, text
// assets their text, and other assets policies.Unknown.
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
		return policies.Unknown{} // in a file or elsewhere, which is not read
	case v.IsResourceReference():
		return string(v.ResourceReferenceValue().URN)
	case v.IsArchive():
		return policies.Unknown{}
	case v.IsNull():
		return nil
	}
	return v.V // bool, float64, string
}

// masked replaces a secret in the engine's events.
const masked = "[secret]"

// elided replaces the text of an asset in the engine's events, which keep its hash.
const elided = "<contents elided>"

// FromEvent returns the resource in an event of the engine. Events contain no dependencies, and masks instead of
// secrets and of the texts of assets. texts are the program's own: an asset is recognised by its hash, and any other is
// unknown.
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

// Name returns the resource's name, which is the last part of a URN.
func Name(urn string) string {
	if i := strings.LastIndex(urn, "::"); i >= 0 {
		return urn[i+len("::"):]
	}
	return urn
}
