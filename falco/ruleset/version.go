package ruleset

import (
	"fmt"
	"strconv"
	"strings"

	"spire-falco/falco"
)

// loader is what the rule loaders of Falco versions differ in, besides the condition language.
type loader struct {
	// suggestedOutput: outputs get the fields that the container plugin suggests,
	// and %container.info is nothing. Since 0.41.
	suggestedOutput bool
	// captures: rules have the keys capture and capture_duration. Since 0.42.
	captures bool
	// deprecatedFields raise a warning where a condition or an output has them, in
	// the order in which Falco looks for them. Since 0.42.
	deprecatedFields []string
	// unknownKeys raise a warning, and exceptions take operators with list
	// modifiers. Since 0.44.
	unknownKeys bool
}

func loaderOf(v falco.Version) loader {
	l := loader{suggestedOutput: v.AtLeast("0.41"), captures: v.AtLeast("0.42"), unknownKeys: v.AtLeast("0.44")}
	switch {
	case v.AtLeast("0.43"):
		l.deprecatedFields = []string{"evt.dir", "evt.latency", "evt.latency.s", "evt.latency.ns", "evt.latency.human", "evt.wait_latency"}
	case v.AtLeast("0.42"):
		l.deprecatedFields = []string{"evt.dir"}
	}
	return l
}

type version struct {
	major, minor, patch uint32
	valid               bool
}

// parseVersion reads "x.y.z" as Falco does: what follows the third number does
// not matter.
func parseVersion(s string) version {
	var v version
	rest := s
	for i, into := range []*uint32{&v.major, &v.minor, &v.patch} {
		if i > 0 {
			if !strings.HasPrefix(rest, ".") {
				return v
			}
			rest = rest[1:]
		}
		rest = strings.TrimLeft(rest, " \t\n\v\f\r")
		sign := ""
		if strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
			sign, rest = rest[:1], rest[1:]
		}
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 0 {
			return v
		}
		num, _ := strconv.ParseUint(rest[:n], 10, 64)
		if sign == "-" {
			num = -num
		}
		*into = uint32(num)
		rest = rest[n:]
	}
	v.valid = true
	return v
}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

// satisfies tells whether v may stand where wanted is required.
func (v version) satisfies(wanted version) bool {
	if !v.valid || !wanted.valid || v.major != wanted.major {
		return false
	}
	if v.minor != wanted.minor {
		return v.minor > wanted.minor
	}
	return v.patch >= wanted.patch
}
