package ruletest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"spire-falco/falco"
)

// compare finds the expected alert of each alert that fired.
func (res *CaseResult) compare() {
	want := res.Want
	taken := make([][]int, len(want)) // the alerts that each expected one stands for
	owner := make([]int, len(res.Fired))
	var place func(alert int, seen []bool) bool
	place = func(alert int, seen []bool) bool { // of a matching in a bipartite graph
		for k := range want {
			if seen[k] || len(want[k].difference(&res.Fired[alert])) > 0 {
				continue
			}
			seen[k] = true
			if len(taken[k]) < want[k].Count {
				taken[k] = append(taken[k], alert)
				owner[alert] = k
				return true
			}
			for i, other := range taken[k] {
				if place(other, seen) {
					taken[k][i] = alert
					owner[alert] = k
					return true
				}
			}
		}
		return false
	}
	for i := range res.Fired {
		if !place(i, make([]bool, len(want))) {
			res.Unexpected = append(res.Unexpected, res.Fired[i])
		}
	}
	used := map[int]bool{}
	for k, w := range want {
		missing := w.Count - len(taken[k])
		if missing == 0 {
			continue
		}
		m := Missing{Expected: w, Count: missing}
		for i := range res.Unexpected {
			if f := &res.Unexpected[i]; f.Rule == w.Rule && !used[i] {
				used[i] = true
				m.Other, m.Difference = f, w.difference(f)
				break
			}
		}
		res.Missing = append(res.Missing, m)
	}
}

// difference says in which an alert is other than expected; it is empty when it is the one.
func (e *Expected) difference(f *Fired) []string {
	if f.Rule != e.Rule {
		return []string{fmt.Sprintf("rule: want %s, got %s", quote(e.Rule), quote(f.Rule))}
	}
	var out []string
	if got, err := falco.ParsePriority(f.Priority); e.HasPriority && (err != nil || got != e.Priority) {
		out = append(out, fmt.Sprintf("priority: want %s, got %s", e.Priority, f.Priority))
	}
	if e.Output != "" && e.Output != f.Message && e.Output+f.Appended != f.Message {
		out = append(out, fmt.Sprintf("output: want %s, got %s", quote(e.Output), quote(strings.TrimSuffix(f.Message, f.Appended))))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		want := e.Fields[name]
		value, there := f.OutputFields[name]
		var got *string
		if value != nil {
			text := fieldText(value)
			got = &text
		}
		switch {
		case !there:
			out = append(out, fmt.Sprintf("field %s: the output has no such field; it has %s", name, strings.Join(slices.Sorted(maps.Keys(f.OutputFields)), ", ")))
		case (want == nil) != (got == nil) || want != nil && *want != *got:
			out = append(out, fmt.Sprintf("field %s: want %s, got %s", name, quoteOrNull(want), quoteOrNull(got)))
		}
	}
	if e.HasTags && !sameSet(e.Tags, f.Tags) {
		out = append(out, fmt.Sprintf("tags: want %s, got %s", listed(e.Tags), listed(f.Tags)))
	}
	return out
}

// fieldText is the value of an output field as Falco prints it.
func fieldText(value any) string {
	if list, ok := value.([]string); ok {
		return "(" + strings.Join(list, ",") + ")"
	}
	return fmt.Sprint(value)
}

func quoteOrNull(s *string) string {
	if s == nil {
		return "no value"
	}
	return quote(*s)
}

func listed(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
