package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"spire-falco/charts"
	"spire-falco/config"
	"spire-falco/policy/policies"
	"spire-falco/policy/properties"
	"spire-falco/report"
	"spire-falco/values"
)

// planned collects what the engine says that it would do.
type planned struct {
	steps []apitype.StepEventMetadata
}

func (p *planned) event(e events.EngineEvent) {
	if e.ResourcePreEvent != nil {
		p.steps = append(p.steps, e.ResourcePreEvent.Metadata)
	}
}

// violations are what the policies report of the planned resources. mirrors are the repositories that the settings name
// in place of those of the table of charts.
func (p *planned) violations(mirrors ...string) []policies.Violation {
	var resources []policies.Resource
	for _, s := range p.steps {
		if s.New != nil {
			resources = append(resources, properties.FromEvent(*s.New, values.SPIRECRDs()))
		}
	}
	return policies.Evaluate(resources, mirrors...)
}

// changes counts the resources that would not stay as they are.
func (p *planned) changes() int {
	n := 0
	for _, s := range p.steps {
		if s.Op != apitype.OpSame && s.Op != apitype.OpRead {
			n++
		}
	}
	return n
}

// component is one component of the plan with the number of resources under it.
type component struct {
	kind, name string
	resources  int
	ops        map[apitype.OpType]int
}

const componentPrefix = "spire-falco:components:"

// components groups the planned resources by the component that they belong to, in the order of the plan.
func (p *planned) components() []*component {
	var list []*component
	find := func(kind, name string) *component {
		for _, c := range list {
			if c.kind == kind && (name == "" || c.name == name) {
				return c
			}
		}
		c := &component{kind: kind, name: name, ops: map[apitype.OpType]int{}}
		list = append(list, c)
		return c
	}
	for _, s := range p.steps {
		types, name := splitURN(s.URN)
		last := types[len(types)-1]
		if kind, ok := strings.CutPrefix(last, componentPrefix); ok {
			find(kind, name)
			continue
		}
		if last == "pulumi:pulumi:Stack" {
			continue
		}
		kind := "Stack"
		for _, typ := range types[:len(types)-1] {
			if k, ok := strings.CutPrefix(typ, componentPrefix); ok {
				kind = k
			}
		}
		c := find(kind, owner(kind, name, list))
		c.resources++
		c.ops[s.Op]++
	}
	return list
}

// owner is the name of the component of that kind whose name the child's begins with: children are named after their
// parent.
func owner(kind, child string, list []*component) string {
	best := ""
	for _, c := range list {
		if c.kind == kind && strings.HasPrefix(child, c.name+"-") && len(c.name) > len(best) {
			best = c.name
		}
	}
	return best
}

// splitURN gives the types from the outermost parent to the resource itself, and the resource's name.
func splitURN(urn string) (types []string, name string) {
	parts := strings.SplitN(urn, "::", 4)
	if len(parts) < 4 {
		return []string{""}, urn
	}
	return strings.Split(parts[2], "$"), parts[3]
}

// writeSummary ends a preview with what a person wants to know at a glance.
func writeSummary(out io.Writer, stack string, p *plan, seen *planned, standIn, contractLine string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	set := p.settings
	report.Fprintf(w, "\nSTACK %s on %s\n", stack, where(set.Cluster))
	report.Fprintf(w, "\nCOMPONENT\tNAME\tRESOURCES\tPLAN\n")
	total := 0
	for _, c := range seen.components() {
		report.Fprintf(w, "%s\t%s\t%d\t%s\n", c.kind, c.name, c.resources, operations(c.ops))
		total += c.resources
	}
	report.Fprintf(w, "all\t\t%d\n", total)

	report.Fprintf(w, "\nCHART\tASKED FOR\tTAKEN\tAPPLICATION\n")
	for _, c := range usedCharts(set) {
		report.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Requested, c.Version, c.AppVersion)
	}
	writeChanges(w, values.Changes(set))
	if p.rules != nil {
		report.Fprintf(w, "\nRULE\tPRIORITY\tFILE\n")
		for _, r := range p.rules.Rules {
			report.Fprintf(w, "%s\t%s\t%s\n", r.Name, strings.ToUpper(r.Priority), r.File)
		}
		report.Fprintf(w, "rules hash %s, checked\n", p.rules.Hash[:12])
	} else {
		report.Fprintf(w, "\nFalco is off; turn it on with ENABLE_FALCO=true or the setting enableFalco\n")
	}
	violations := seen.violations(set.Falco.Chart.Repository, set.Sidekick.Chart.Repository, set.SPIRE.Chart.Repository)
	for _, v := range violations {
		report.Fprintf(w, "\npolicy: %s\n", v)
	}
	if len(violations) == 0 {
		report.Fprintf(w, "\n%d policies hold\n", len(policies.Policies()))
	}
	for _, warning := range p.warnings() {
		report.Fprintf(w, "\nwarning: %s\n", warning)
	}
	if contractLine != "" {
		report.Fprintf(w, "\nwarning: %s\n", contractLine)
	}
	if standIn != "" {
		report.Fprintf(w, "\nplanned on the real engine with stand-ins, since %s: not checked were the charts themselves, the cluster's answer and what it holds already\n", standIn)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	if len(violations) > 0 {
		return fmt.Errorf("%d policy violations", len(violations))
	}
	return nil
}

// longestValue is how much of a value is shown, in characters.
const longestValue = 80

// writeChanges lists what the user's values change.
func writeChanges(w io.Writer, changes []values.Change) {
	if len(changes) == 0 {
		return
	}
	report.Fprintf(w, "\nYOUR VALUES\tKEY\tVALUE\tINSTEAD OF\n")
	for _, c := range changes {
		from := "the chart's default"
		if c.From != "" {
			from = report.Bounded(c.From, longestValue)
		}
		report.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Chart, c.Key, report.Bounded(c.To, longestValue), from)
	}
}

func where(c config.Cluster) string {
	if c.Mode == config.ModeMinikube {
		return fmt.Sprintf("Minikube %s (%s, %d CPUs, %d MiB, Kubernetes %s)", c.Minikube.Profile, c.Minikube.Driver, c.Minikube.CPUs, c.Minikube.MemoryMiB, c.Minikube.KubernetesVersion)
	}
	return fmt.Sprintf("the existing cluster %s of %s", c.Context, c.Kubeconfig)
}

func usedCharts(s *config.Settings) []charts.Chart {
	var list []charts.Chart
	if s.SPIRE.Install {
		list = append(list, s.SPIRE.CRDs, s.SPIRE.Chart.Chart)
	}
	if s.EnableFalco {
		list = append(list, s.Sidekick.Chart, s.Falco.Chart.Chart)
	}
	return list
}

// operations says what is planned, such as "2 to create, 1 to update".
func operations(ops map[apitype.OpType]int) string {
	words := map[apitype.OpType]string{
		apitype.OpCreate: "to create", apitype.OpUpdate: "to update", apitype.OpDelete: "to delete",
		apitype.OpReplace: "to replace", apitype.OpSame: "unchanged",
	}
	var parts []string
	for _, op := range []apitype.OpType{apitype.OpCreate, apitype.OpUpdate, apitype.OpReplace, apitype.OpDelete, apitype.OpSame} {
		if n := ops[op]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, words[op]))
		}
	}
	return strings.Join(parts, ", ")
}
