// Command policy serves the policies of package policy to the Pulumi engine as a policy pack, each mandatory:
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
)

func main() {
	if err := policyx.Main(func(ctx *pulumi.Context) (policyx.PolicyPack, error) { return pack(mirrors(ctx)...) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// mirrors are the repositories that the stack's settings name in place of those of the table of charts. They are read under
// their own keys and inside the object of their group, in which the engine passes defaults.
func mirrors(ctx *pulumi.Context) []string {
	var group map[string]string
	if text, ok := ctx.GetConfig(ctx.Project() + ":charts"); ok {
		_ = json.Unmarshal([]byte(text), &group) // what is no object of texts names no mirror
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

// pack registers every policy. The SDK drops a level that is given for the whole pack, and its zero level is advisory: so
// each policy gets its own.
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
						resources[i].DependsOn = append([]string{}, r.Dependencies...) // here they are known
					}
					report(p, args.Manager, resources)
					return nil
				},
			}))
			continue
		}
		all = append(all, policyx.NewResourceValidationPolicy(p.Name, policyx.ResourceValidationPolicyArgs{
			Description:      p.Description,
			EnforcementLevel: policyx.EnforcementLevelMandatory,
			ValidateResource: func(_ context.Context, args policyx.ResourceValidationArgs) error {
				report(p, args.Manager, []policies.Resource{plain(args.Resource)})
				return nil
			},
		}))
	}
	made, err := policyx.NewPolicyPack("spire-falco", semver.MustParse("1.0.0"), policyx.EnforcementLevelMandatory, all)
	if err != nil {
		return nil, fmt.Errorf("build the policy pack: %w", err)
	}
	return made, nil
}

// report never returns an error: that would abort the run instead of saying what is wrong.
func report(p policies.Policy, manager policyx.PolicyManager, resources []policies.Resource) {
	for _, v := range p.Judge(resources) {
		manager.ReportViolation(v.Resource+": "+v.Message, v.URN)
	}
}

func plain(r policyx.AnalyzerResource) policies.Resource {
	return policies.Resource{
		URN: r.URN, Type: r.Type, Name: r.Name,
		Inputs: properties.Plain(resource.ToResourcePropertyMap(r.Properties)),
	}
}
