package ruletest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff is the difference between the expected alerts and those that came, in the form of the key fires; "" when there is
// none. Of an alert it shows what was compared.
func (res *CaseResult) Diff() string {
	var want, got strings.Builder
	shown := map[*Fired]bool{}
	for k := range res.Want {
		w := &res.Want[k]
		w.write(&want, w.Count, nil)
		i := slices.IndexFunc(res.Missing, func(m Missing) bool { return m.Location == w.Location })
		if i < 0 {
			w.write(&got, w.Count, nil)
			continue
		}
		m := &res.Missing[i]
		if came := w.Count - m.Count; came > 0 {
			w.write(&got, came, nil)
		}
		if m.Other != nil {
			w.write(&got, 1, m.Other)
			shown[m.Other] = true
		}
	}
	for i := range res.Unexpected {
		if f := &res.Unexpected[i]; !shown[f] {
			e := Expected{Rule: f.Rule, Count: 1, HasPriority: true, Output: f.Message}
			e.write(&got, 1, f)
		}
	}
	return string(diff.Diff("want", []byte(want.String()), "got", []byte(got.String())))
}

// write writes an entry of fires, with the values of an alert in place of the expected ones when there is one.
func (e *Expected) write(b *strings.Builder, count int, f *Fired) {
	rule, priority, output, tags := e.Rule, e.Priority.String(), e.Output, e.Tags
	if f != nil {
		rule, priority, output, tags = f.Rule, f.Priority, strings.TrimSuffix(f.Message, f.Appended), f.Tags
	}
	line := func(key, value string) { fmt.Fprintf(b, "  %s: %s\n", key, value) }
	fmt.Fprintf(b, "- rule: %s\n", rule)
	if count > 1 {
		line("count", strconv.Itoa(count))
	}
	if e.HasPriority {
		line("priority", priority)
	}
	if e.Output != "" {
		line("output", strconv.Quote(output))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		value := e.Fields[name]
		if f != nil {
			value = nil
			if v := f.OutputFields[name]; v != nil {
				text := fieldText(v)
				value = &text
			}
		}
		line("fields."+name, quoteOrNull(value))
	}
	if e.HasTags {
		tags = slices.Sorted(slices.Values(tags))
		line("tags", listed(tags))
	}
}
