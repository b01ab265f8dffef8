package alerts

import (
	"fmt"
	"path"
	"strings"
	"time"

	"spire-falco/falco"
)

// Filter says which alerts are wanted. The zero value wants all.
type Filter struct {
	// Since leaves out alerts of before; zero for none. An alert whose time is not known passes.
	Since time.Time
	// MinPriority leaves out less severe ones; nil for none.
	MinPriority *falco.Priority
	// Rules are names, without regard to case, or patterns with * and ?. It matches if any does; empty matches all. An alert
	// of Falco's text output, whose rule is not known, passes.
	Rules []string
	// Pods are names of pods or namespace/name, or patterns. It matches if any does; empty matches all. An alert of Falco's
	// text output, whose pod is not known, passes.
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

// Wants reports whether the alert passes. What is not known of an alert never keeps it out.
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
