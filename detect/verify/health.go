package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"spire-falco/config"
	"spire-falco/detect/alerts"
	"spire-falco/detect/kube"
	"spire-falco/values"
)

// Check is one requirement besides the scenarios.
type Check struct {
	// Name says what must be true.
	Name string `json:"name"`
	// OK reports whether it is.
	OK bool `json:"ok"`
	// Detail says what was found.
	Detail string `json:"detail"`
}

// dropRule is the prefix of the rule name with which Falco reports that it dropped events.
const dropRule = "Falco internal: syscall event drop"

// fleet is a snapshot of Falco's pods, without those that were terminating.
type fleet struct {
	pods []kube.Pod
	// desired is the number of nodes that should run Falco, and ready the number that do.
	desired int
	ready   int
}

func (r *run) fleet(ctx context.Context) (fleet, error) {
	namespace := r.options.Settings.Falco.Namespace
	var set struct {
		Status struct {
			Desired int `json:"desiredNumberScheduled"`
			Ready   int `json:"numberReady"`
		} `json:"status"`
	}
	if err := r.kube.Get(ctx, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets/"+config.FalcoRelease, nil, &set); err != nil {
		if kube.IsNotFound(err) {
			return fleet{}, fmt.Errorf("there is no Falco: DaemonSet %s/%s does not exist", namespace, config.FalcoRelease)
		}
		return fleet{}, fmt.Errorf("read Falco's DaemonSet: %w", err)
	}
	pods, err := r.kube.Pods(ctx, namespace, alerts.FalcoSelector)
	if err != nil {
		return fleet{}, fmt.Errorf("list Falco's pods: %w", err)
	}
	// After a rollout the old pod exists for a while beside the new one.
	pods = slices.DeleteFunc(pods, func(p kube.Pod) bool { return p.Metadata.DeletionTimestamp != "" })
	return fleet{pods: pods, desired: set.Status.Desired, ready: set.Status.Ready}, nil
}

func (f fleet) checkReady() Check {
	return Check{
		Name: "Falco runs on every node", OK: f.desired > 0 && f.ready == f.desired,
		Detail: fmt.Sprintf("%d of %d nodes", f.ready, f.desired),
	}
}

// checkRules compares the rules that Falco's pods were started with to those of the settings.
func (r *run) checkRules(ctx context.Context, f fleet) (Check, error) {
	c := Check{Name: "Falco runs with the rules of the settings", OK: true, Detail: "hash " + r.options.Rules.Hash[:12]}
	fail := func(format string, args ...any) (Check, error) {
		c.OK, c.Detail = false, fmt.Sprintf(format, args...)
		return c, nil
	}
	for _, p := range f.pods {
		if got := p.Metadata.Annotations[values.RulesHashAnnotation]; got != r.options.Rules.Hash {
			return fail("pod %s was started with rules of hash %s, the settings have %s: run stack up",
				p.Metadata.Name, short(got), short(r.options.Rules.Hash))
		}
	}
	var configMaps struct {
		Items []struct {
			Metadata kube.Metadata     `json:"metadata"`
			Data     map[string]string `json:"data"`
		} `json:"items"`
	}
	if err := r.kube.Get(ctx, "/api/v1/namespaces/"+r.options.Settings.Falco.Namespace+"/configmaps", nil, &configMaps); err != nil {
		return c, fmt.Errorf("read the rules ConfigMap: %w", err)
	}
	for _, m := range configMaps.Items {
		if m.Metadata.Annotations[values.RulesHashAnnotation] != r.options.Rules.Hash {
			continue
		}
		want := r.options.Rules.Data()
		if maps.Equal(m.Data, want) {
			return c, nil
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if m.Data[name] != want[name] {
				return fail("file %s of ConfigMap %s differs from that of the settings", name, m.Metadata.Name)
			}
		}
		return fail("ConfigMap %s has files that the settings do not have", m.Metadata.Name)
	}
	return fail("no ConfigMap in the namespace has the annotation %s: %s",
		values.RulesHashAnnotation, short(r.options.Rules.Hash))
}

func short(hash string) string {
	if hash == "" {
		return "(none)"
	}
	return hash[:min(12, len(hash))]
}

// checkRestarts compares Falco's pods at the end to those at the start.
func checkRestarts(before, after fleet) Check {
	c := Check{Name: "Falco did not restart", OK: true, Detail: fmt.Sprintf("the same %d pods as at the start", len(after.pods))}
	counts := map[string]int{}
	for _, p := range before.pods {
		counts[p.Metadata.UID] = falcoRestarts(p)
	}
	var changed []string
	for _, p := range after.pods {
		switch n, there := counts[p.Metadata.UID]; {
		case !there:
			changed = append(changed, p.Metadata.Name+" is new")
		case falcoRestarts(p) != n:
			changed = append(changed, fmt.Sprintf("%s restarted %d times", p.Metadata.Name, falcoRestarts(p)-n))
		}
		delete(counts, p.Metadata.UID)
	}
	if len(counts) > 0 {
		changed = append(changed, fmt.Sprintf("%d pods are gone", len(counts)))
	}
	if len(changed) > 0 {
		slices.Sort(changed)
		c.OK, c.Detail = false, strings.Join(changed, ", ")
	}
	return c
}

func falcoRestarts(p kube.Pod) int {
	s, _ := p.Container(alerts.FalcoContainer)
	return s.RestartCount
}

// checkDrops looks for Falco's own alerts about dropped events.
func checkDrops(all []arrival) Check {
	c := Check{Name: "Falco dropped no events", OK: true, Detail: "no drop was reported"}
	var reports []string
	for _, a := range all {
		if !strings.HasPrefix(a.Rule, dropRule) {
			continue
		}
		text := "node " + a.Hostname
		if n := a.Field("n_drops"); n != "" {
			text += ": " + n + " events"
		}
		reports = append(reports, text)
	}
	if len(reports) > 0 {
		c.OK, c.Detail = false, strings.Join(reports, ", ")
	}
	return c
}
