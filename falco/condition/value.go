package condition

import (
	"encoding/hex"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// maxValueLength bounds a constant: Falco keeps it in 256 bytes, with a zero at its end.
const maxValueLength = 255

// constant is a constant of a check in the form that its field's type has.
type constant struct {
	str  string
	num  uint64 // bits of a signed or unsigned number, or 0 and 1 for a boolean
	flt  float64
	addr netip.Addr
	net  network
}

// network is an IP network; v6 tells the families apart.
type network struct {
	addr netip.Addr
	bits int
}

func (n network) contains(a netip.Addr) bool {
	p, err := a.Prefix(n.bits)
	if err != nil || a.Is4() != n.addr.Is4() {
		return false
	}
	q, err := n.addr.Prefix(n.bits)
	return err == nil && p == q
}

// scanUnsigned reads a number as C's sscanf("%u") does: leading white space
// and a sign are allowed, a number too large is cut to the width.
func scanUnsigned(s string, bits uint) (uint64, bool) {
	negative, digits, ok := scanDigits(s)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		n = math.MaxUint64
	} else if negative {
		n = -n
	}
	return truncate(n, bits), true
}

// scanSigned reads a number as C's sscanf("%d") does.
func scanSigned(s string, bits uint) (int64, bool) {
	negative, digits, ok := scanDigits(s)
	if !ok {
		return 0, false
	}
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64
		if negative {
			n = math.MinInt64
		}
	}
	return signExtend(n, bits), true
}

func scanDigits(s string) (negative bool, digits string, ok bool) {
	i := 0
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		negative = s[i] == '-'
		i++
	}
	digits = s[i:]
	for k := range len(digits) {
		if !isDigit(digits[k]) {
			return false, "", false
		}
	}
	return negative, digits, digits != ""
}

func truncate(n uint64, bits uint) uint64 {
	if bits >= 64 {
		return n
	}
	return n & (1<<bits - 1)
}

func signExtend(n int64, bits uint) int64 {
	shift := 64 - min(bits, 64)
	return n << shift >> shift
}

// parseConstant reads a constant of type t.
func (l *Language) parseConstant(t Type, s string) (constant, error) {
	switch t.kind() {
	case kindSigned:
		if t == TypePID && !l.lenientAncestors {
			break
		}
		width := min(t.bits(), 32)
		if t.bits() == 64 {
			width = 64
		}
		n, ok := scanSigned(s, width)
		if !ok {
			return constant{}, notNumber(s)
		}
		return constant{num: uint64(signExtend(n, t.bits()))}, nil
	case kindUnsigned:
		switch t {
		case TypeSyscallID, TypeSigType:
		case TypePort:
			n, err := parsePort(s)
			return constant{num: n}, err
		default:
			n, ok := scanUnsigned(s, max(t.bits(), 32))
			if !ok {
				return constant{}, notNumber(s)
			}
			return constant{num: truncate(n, t.bits())}, nil
		}
	case kindFloat:
		n, ok := scanSigned(s, 32)
		if !ok {
			return constant{}, notNumber(s)
		}
		return constant{flt: float64(n)}, nil
	case kindBool:
		switch s {
		case "true":
			return constant{num: 1}, nil
		case "false":
			return constant{}, nil
		}
		return constant{}, fieldError("filter error: unrecognized boolean value " + s)
	case kindString:
		return stringConstant(s)
	case kindBytes:
		if len(s) > maxValueLength {
			return constant{}, fieldError("filter parameter too long (byte buf)")
		}
		return constant{str: s}, nil
	case kindIP:
		return parseAddress(s)
	case kindNet:
		return parseNetwork(s)
	}
	switch {
	case t == "SOCKADDR" || t == "SOCKFAMILY" || t == "SOCKTUPLE" && l.lenientAncestors:
		return stringConstant(s)
	case (t == "UID" || t == "GID") && l.lenientAncestors:
		n, ok := scanUnsigned(s, 32)
		if !ok {
			return constant{}, notNumber(s)
		}
		return constant{num: n}, nil
	}
	return constant{}, fieldError("wrong parameter type " + unparseable[t])
}

func stringConstant(s string) (constant, error) {
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	if len(s) > maxValueLength {
		return constant{}, fieldError("filter parameter too long (used=" + strconv.Itoa(len(s)+1) + ", available=256):" + s)
	}
	return constant{str: s}, nil
}

func parsePort(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return 0, fieldError("stoi")
		}
		return truncate(uint64(n), 16), nil
	}
	if n, ok := services()[s]; ok {
		return uint64(n), nil
	}
	return 0, fieldError("unrecognized protocol " + s)
}

func parseAddress(s string) (constant, error) {
	a, err := netip.ParseAddr(s)
	if strings.IndexByte(s, '.') >= 0 {
		if err != nil || !a.Is4() {
			return constant{}, fieldError("unrecognized IPv4 address " + s)
		}
		return constant{addr: a}, nil
	}
	if err != nil || !a.Is6() || a.Zone() != "" {
		return constant{}, fieldError("unrecognized IPv6 address " + s)
	}
	return constant{addr: a}, nil
}

func parseNetwork(s string) (constant, error) {
	ip, mask, found := strings.Cut(s, "/")
	mask, _, _ = strings.Cut(mask, "\n")
	v4 := strings.IndexByte(s, '.') >= 0
	switch {
	case !found && v4:
		return constant{}, fieldError("unrecognized IP network " + s)
	case !found:
		return constant{}, fieldError("invalid v6 netmask: " + s)
	}
	a, err := netip.ParseAddr(ip)
	if v4 {
		if err != nil || !a.Is4() {
			return constant{}, fieldError("unrecognized IP address " + s)
		}
	} else if err != nil || !a.Is6() || a.Zone() != "" {
		return constant{}, fieldError("unrecognized IPv6 address " + s)
	}
	n, ok := scanUnsigned(mask, 32)
	if !ok {
		return constant{}, notNumber(mask)
	}
	bits := int(truncate(n, 8))
	if v4 && bits > 32 {
		return constant{}, fieldError("invalid netmask " + mask)
	}
	if !v4 && (bits == 0 || bits > 128) {
		return constant{}, fieldError("invalid v6 netmask " + mask)
	}
	return constant{net: network{a, bits}}, nil
}

// unhex reads the constant of bcontains and bstartswith.
func unhex(s string) (string, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return "", fieldError("filter error: bcontains and bstartswith operator support hex strings only")
	}
	return string(b), nil
}
