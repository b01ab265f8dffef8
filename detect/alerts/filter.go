package alerts

import (
	"fmt"
	"path"
	"strings"
	"time"

	"spire-falco/falco"
)

// Filter selects alerts. The zero value selects all.
type Filter struct {
	// Since excludes older alerts; zero excludes none. An alert without a time passes.
	Since time.Time
	// MinPriority excludes less severe alerts; nil excludes none.
	MinPriority *falco.Priority
	// Rules are names, without regard to case, or patterns with * and ?. It matches if any does; empty matches all. An
	// alert of Falco's text output, whose rule is not known, passes.
	Rules []string
	// Pods are names of pods or namespace/name, or patterns. It matches if any does; empty matches all. An alert of
	// Falco's text output, whose pod is not known, passes.
	Pods []string
}

// Validate reports malformed patterns.
func (f Filter) Validate() error {
	for _, list := range []struct {
		flag     string
		patterns []string
	}{{"--rule", f.Rules}, {"--pod", f.Pods}} {
		for _, p := range list.patterns {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return fmt.Errorf("%s = %q: must be a name, or a pattern with * and ?", list.flag, p)
			}
		}
	}
	return nil
}

// Wants reports whether the alert passes. A property that is not known never excludes an alert.
func (f Filter) Wants(a *Alert) bool {
	if !a.Time.IsZero() && a.Time.Before(f.Since) {
		return false
	}
	if f.MinPriority != nil && a.Priority > *f.MinPriority {
		return false
	}
	if len(f.Rules) > 0 && a.Rule != "" && !matchesAny(f.Rules, a.Rule) {
		return false
	}
	if len(f.Pods) > 0 && !a.Plain {
		namespace, name := a.Pod()
		if name == "" || !matchesAny(f.Pods, name) && !matchesAny(f.Pods, namespace+"/"+name) {
			return false
		}
	}
	return true
}

func matchesAny(patterns []string, text string) bool {
	text = strings.ToLower(text)
	for _, p := range patterns {
		if ok, _ := path.Match(strings.ToLower(p), text); ok {
			return true
		}
	}
	return false
}
