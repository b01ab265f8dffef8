package ruleset

import "strings"

// Priority is how grave a rule's alerts are: 0 is Emergency, 7 is Debug.
type Priority int

// The priorities of Falco's rules, gravest first.
const (
	Emergency Priority = iota
	Alerting
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorityNames = []string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

// String returns the priority as alerts have it, for example Warning.
func (p Priority) String() string {
	if p < 0 || int(p) >= len(priorityNames) {
		return "Unknown"
	}
	return priorityNames[p]
}

// ParsePriority reads a priority in any case. Info stands for Informational.
func ParsePriority(s string) (Priority, bool) {
	for i, name := range priorityNames {
		if equalFoldASCII(s, name) || Priority(i) == Informational && equalFoldASCII(s, "info") {
			return Priority(i), true
		}
	}
	return 0, false
}

func equalFoldASCII(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
