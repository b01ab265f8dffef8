// Command policy is a Pulumi policy pack with the policies of package policies, all mandatory:
//
//	pulumi preview --policy-pack policy
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/policyx"

	"spire-falco/policy/policies"
	"spire-falco/policy/properties"
	"spire-falco/report"
)

func main() {
	err := policyx.Main(func(ctx *pulumi.Context) (policyx.PolicyPack, error) { return pack(mirrors(ctx)...) })
	if err != nil {
		fmt.Fprintln(os.Stderr, report.Lines(err.Error()))
		os.Exit(1)
	}
}

// mirrors returns the chart repositories that the stack's settings use as mirrors. It reads the settings under their
// own keys and inside the object of their group, in which the engine passes defaults.
func mirrors(ctx *pulumi.Context) []string {
	var group map[string]string
	if text, ok := ctx.GetConfig(ctx.Project() + ":charts"); ok {
		_ = json.Unmarshal([]byte(text), &group) // anything else than an object of strings names no mirror
	}
	var out []string
	for _, name := range []string{"falcoRepository", "spireRepository"} {
		url, ok := ctx.GetConfig(ctx.Project() + ":charts." + name)
		if !ok {
			url = group[name]
		}
		if url != "" {
			out = append(out, url)
		}
	}
	return out
}

// pack registers every policy. Each has its own level, because the SDK ignores the level of the pack and defaults to
// advisory.
func pack(mirrors ...string) (policyx.PolicyPack, error) {
	var all []policyx.Policy
	for _, p := range policies.Policies(mirrors...) {
		if p.WholeStack() {
			all = append(all, policyx.NewStackValidationPolicy(p.Name, policyx.StackValidationPolicyArgs{
				Description:      p.Description,
				EnforcementLevel: policyx.EnforcementLevelMandatory,
				ValidateStack: func(_ context.Context, args policyx.StackValidationArgs) error {
					resources := make([]policies.Resource, len(args.Resources))
					for i, r := range args.Resources {
						resources[i] = plain(r)
						resources[i].DependsOn = append([]string{}, r.Dependencies...) // not nil, which means unknown
					}
					judge(p, args.Manager, resources)
					return nil
				},
			}))
			continue
		}
		all = append(all, policyx.NewResourceValidationPolicy(p.Name, policyx.ResourceValidationPolicyArgs{
			Description:      p.Description,
			EnforcementLevel: policyx.EnforcementLevelMandatory,
			ValidateResource: func(_ context.Context, args policyx.ResourceValidationArgs) error {
				judge(p, args.Manager, []policies.Resource{plain(args.Resource)})
				return nil
			},
		}))
	}
	built, err := policyx.NewPolicyPack("spire-falco", semver.MustParse("1.0.0"), policyx.EnforcementLevelMandatory, all)
	if err != nil {
		return nil, fmt.Errorf("build the policy pack: %w", err)
	}
	return built, nil
}

// judge never returns an error, which would abort the run instead of reporting what is wrong.
func judge(p policies.Policy, manager policyx.PolicyManager, resources []policies.Resource) {
	for _, v := range p.Judge(resources) {
		manager.ReportViolation(report.Text(v.Resource+": "+v.Message), v.URN)
	}
}

func plain(r policyx.AnalyzerResource) policies.Resource {
	return policies.Resource{
		URN: r.URN, Type: r.Type, Name: r.Name,
		Inputs: properties.Plain(resource.ToResourcePropertyMap(r.Properties)),
	}
}
