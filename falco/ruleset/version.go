package ruleset

import (
	"fmt"
	"strconv"
	"strings"
)

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
