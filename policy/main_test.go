package main

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/policyx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/policy/policies"
)

func TestEveryPolicyIsRegisteredAndMandatory(t *testing.T) {
	t.Parallel()
	p, err := pack()
	require.NoError(t, err)
	assert.Equal(t, "spire-falco", p.Name())
	var names []string
	for _, registered := range p.Policies() {
		names = append(names, registered.Name())
		assert.Equal(t, policyx.EnforcementLevelMandatory, registered.EnforcementLevel(), registered.Name())
		assert.NotEmpty(t, registered.Description(), registered.Name())
	}
	var want []string
	for _, w := range policies.Policies() {
		want = append(want, w.Name)
	}
	assert.Equal(t, want, names)
	assert.GreaterOrEqual(t, len(names), 27, "none was taken out unnoticed")
}

// manager collects what policies report.
type manager struct{ reported []string }

func (m *manager) ReportViolation(message, urn string) {
	m.reported = append(m.reported, urn+" "+message)
}

// run hands the resources to every policy as the engine does.
func run(t *testing.T, resources ...policyx.AnalyzerResource) []string {
	t.Helper()
	return runPack(t, nil, resources...)
}

func runPack(t *testing.T, mirrors []string, resources ...policyx.AnalyzerResource) []string {
	t.Helper()
	p, err := pack(mirrors...)
	require.NoError(t, err)
	m := &manager{}
	for _, registered := range p.Policies() {
		switch registered := registered.(type) {
		case policyx.ResourceValidationPolicy:
			for _, r := range resources {
				require.NoError(t, registered.Validate(t.Context(), policyx.ResourceValidationArgs{Manager: m, Resource: r}), "an error would abort the run")
			}
		case policyx.StackValidationPolicy:
			require.NoError(t, registered.Validate(t.Context(), policyx.StackValidationArgs{Manager: m, Resources: resources}))
		}
	}
	return m.reported
}

func release(values resource.PropertyValue) policyx.AnalyzerResource {
	return policyx.AnalyzerResource{
		Type: "kubernetes:helm.sh/v3:Release", URN: "urn::falcosidekick", Name: "falcosidekick",
		Properties: resource.FromResourcePropertyMap(resource.PropertyMap{
			"chart": resource.NewProperty("falcosidekick"), "version": resource.NewProperty("0.9.11"), "namespace": resource.NewProperty("falco"),
			"repositoryOpts": resource.NewProperty(resource.PropertyMap{"repo": resource.NewProperty(charts.FalcoRepository)}),
			"values":         values,
		}),
	}
}

func TestAViolationIsReportedAtItsResource(t *testing.T) {
	t.Parallel()
	secret := resource.MakeSecret(resource.NewProperty("hunter2"))
	reported := run(t, release(resource.NewProperty(resource.PropertyMap{"config": resource.NewProperty(resource.PropertyMap{"x": secret})})))
	require.Len(t, reported, 1)
	assert.Contains(t, reported[0], "urn::falcosidekick falcosidekick: values.config.x is a secret")
	assert.NotContains(t, reported[0], "hunter2")
}

func TestUnknownValuesAreAViolation(t *testing.T) {
	t.Parallel()
	for _, unknown := range []resource.PropertyValue{
		resource.MakeComputed(resource.NewProperty("")), resource.NewProperty(resource.Output{Element: resource.NewProperty("")}),
	} {
		reported := run(t, release(unknown))
		require.NotEmpty(t, reported)
		assert.Contains(t, reported[0], "values is not known before up")
	}
}

type noEngine struct{}

func (noEngine) NewResource(pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return "", nil, nil
}
func (noEngine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func TestAMirrorOfTheSettingsIsTrusted(t *testing.T) {
	t.Parallel()
	r := release(resource.NewProperty(resource.PropertyMap{}))
	inputs := resource.ToResourcePropertyMap(r.Properties)
	inputs["repositoryOpts"] = resource.NewProperty(resource.PropertyMap{"repo": resource.NewProperty("https://charts.example.org/")})
	r.Properties = resource.FromResourcePropertyMap(inputs)
	require.Len(t, run(t, r), 1, "without the setting it is not")
	for _, config := range []map[string]string{
		{"p:charts.falcoRepository": "https://charts.example.org"},
		{"p:charts": `{"falcoRepository":"https://charts.example.org"}`},
	} {
		var trusted []string
		require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
			trusted = mirrors(ctx)
			return nil
		}, pulumi.WithMocks("p", "s", noEngine{}), func(info *pulumi.RunInfo) { info.Config = config }))
		assert.Equal(t, []string{"https://charts.example.org"}, trusted)
		assert.Empty(t, runPack(t, trusted, r))
	}
}
