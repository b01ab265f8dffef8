package falco

import (
	"fmt"
	"strings"
)

// Priority is the severity of a rule's alerts; a lower number is more severe, as in syslog.
type Priority int

// The priorities of Falco's rules, the most severe first.
const (
	PriorityEmergency Priority = iota
	PriorityAlert
	PriorityCritical
	PriorityError
	PriorityWarning
	PriorityNotice
	PriorityInformational
	PriorityDebug
)

var priorityNames = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

// String returns the priority as alerts have it, for example Warning.
func (p Priority) String() string {
	if p < 0 || int(p) >= len(priorityNames) {
		return fmt.Sprintf("Priority(%d)", int(p))
	}
	return priorityNames[p]
}

// Setting returns the priority as settings and Falco's own configuration have it, for example informational.
func (p Priority) Setting() string { return strings.ToLower(p.String()) }

// ParsePriority reads a priority in any case. Falco takes info for informational too, and so does this; err, which
// Falco's configuration file does not take, is refused. The error lists what is allowed.
func ParsePriority(s string) (Priority, error) {
	for i, name := range priorityNames {
		if strings.EqualFold(s, name) {
			return Priority(i), nil
		}
	}
	if strings.EqualFold(s, "info") {
		return PriorityInformational, nil
	}
	return 0, fmt.Errorf("unknown priority %q; must be one of %s", s, strings.Join(PrioritySettings(), ", "))
}

// PrioritySettings lists the priorities in the spelling of settings, the most severe first.
func PrioritySettings() []string {
	all := make([]string, len(priorityNames))
	for i := range priorityNames {
		all[i] = Priority(i).Setting()
	}
	return all
}
