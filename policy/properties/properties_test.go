package properties_test

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/policy/policies"
	"spire-falco/policy/properties"
)

func TestPlainKeepsWhatIsSecretAndWhatIsUnknown(t *testing.T) {
	t.Parallel()
	text, err := asset.FromText("a: b")
	require.NoError(t, err)
	word := resource.NewProperty("w")
	got := properties.Plain(resource.PropertyMap{
		"null": resource.NewNullProperty(), "bool": resource.NewProperty(true), "number": resource.NewProperty(2.0), "text": word,
		"list":    resource.NewProperty([]resource.PropertyValue{word, resource.NewProperty(resource.PropertyMap{"k": word})}),
		"asset":   resource.NewProperty(text),
		"secret":  resource.MakeSecret(word),
		"unknown": resource.MakeComputed(word),
		"both":    resource.MakeSecret(resource.MakeComputed(word)),
		"output":  resource.NewProperty(resource.Output{Element: word, Known: true}),
		"later":   resource.NewProperty(resource.Output{Element: word, Secret: true}),
		"ref":     resource.NewProperty(resource.ResourceReference{URN: "urn:pulumi:s::p::t::n"}),
	})
	assert.Equal(t, map[string]any{
		"null": nil, "bool": true, "number": 2.0, "text": "w",
		"list":  []any{"w", map[string]any{"k": "w"}},
		"asset": "a: b", "secret": policies.Secret{Value: "w"}, "unknown": policies.Unknown{},
		"both": policies.Secret{Value: policies.Unknown{}}, "output": "w", "later": policies.Secret{Value: policies.Unknown{}},
		"ref": "urn:pulumi:s::p::t::n",
	}, got)
}

func TestFromEventReadsWhatTheEngineMasked(t *testing.T) {
	t.Parallel()
	r := properties.FromEvent(apitype.StepEventStateMetadata{
		URN: "urn:pulumi:s::p::a$b::name", Type: "b",
		Inputs: map[string]any{
			"masked": "[secret]", "unknown": plugin.UnknownStringValue, "list": []any{"a", plugin.UnknownNumberValue},
			"signed": map[string]any{resource.SigKey: resource.SecretSig, "ciphertext": "x"},
			"asset":  map[string]any{resource.SigKey: resource.AssetSig, "text": "a: b"},
		},
	})
	assert.Equal(t, policies.Resource{URN: "urn:pulumi:s::p::a$b::name", Type: "b", Name: "name", Inputs: map[string]any{
		"masked": policies.Secret{Value: policies.Unknown{}}, "unknown": policies.Unknown{}, "list": []any{"a", policies.Unknown{}},
		"signed": policies.Secret{Value: policies.Unknown{}}, "asset": "a: b",
	}}, r)
	assert.Nil(t, r.DependsOn, "events do not say it")
	assert.Empty(t, properties.Name(""))
}

func TestAnAssetOfAnEventIsKnownByItsHash(t *testing.T) {
	t.Parallel()
	text, err := asset.FromText("a: b")
	require.NoError(t, err)
	elided := func(hash string) apitype.StepEventStateMetadata {
		return apitype.StepEventStateMetadata{Inputs: map[string]any{
			"files": []any{map[string]any{resource.SigKey: resource.AssetSig, "hash": hash, "text": "<contents elided>"}},
		}}
	}
	assert.Equal(t, []any{"a: b"}, properties.FromEvent(elided(text.Hash), "x", "a: b").Inputs["files"])
	assert.Equal(t, []any{policies.Unknown{}}, properties.FromEvent(elided(text.Hash), "x").Inputs["files"])
	assert.Equal(t, []any{policies.Unknown{}}, properties.FromEvent(elided(""), "a: b").Inputs["files"])
	remote := &asset.Asset{Sig: asset.AssetSig, URI: "https://example.org/values.yaml"}
	assert.Equal(t, map[string]any{"a": policies.Unknown{}}, properties.Plain(resource.PropertyMap{"a": resource.NewProperty(remote)}))
}
