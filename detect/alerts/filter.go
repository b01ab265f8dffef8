package alerts

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Filter says which alerts are wanted. The zero value wants all.
type Filter struct {
	// Since leaves out alerts of before; zero for none.
	Since time.Time
	// MinPriority leaves out lesser ones; nil for none.
	MinPriority *Priority
	// Rules are names, without regard to case, or patterns with * and ?; any of them. None means every rule.
	Rules []string
	// Pods are names of pods or namespace/name, or patterns; any of them. None means every place.
	Pods []string
}

// Validate tells of patterns that are none.
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

// Wants tells whether the alert passes.
func (f Filter) Wants(a *Alert) bool {
	if a.Time.Before(f.Since) {
		return false
	}
	if f.MinPriority != nil && a.Priority > *f.MinPriority {
		return false
	}
	if len(f.Rules) > 0 && !matchesAny(f.Rules, a.Rule) {
		return false
	}
	if len(f.Pods) > 0 {
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
