package condition

// Type is the type of a field's values, by the name that Falco gives it.
type Type string

// The types that fields of the catalogue have, or event parameters.
const (
	TypeInt8      Type = "INT8"
	TypeInt16     Type = "INT16"
	TypeInt32     Type = "INT32"
	TypeInt64     Type = "INT64"
	TypeUint8     Type = "UINT8"
	TypeUint16    Type = "UINT16"
	TypeUint32    Type = "UINT32"
	TypeUint64    Type = "UINT64"
	TypeCharbuf   Type = "CHARBUF"
	TypeBytebuf   Type = "BYTEBUF"
	TypeErrno     Type = "ERRNO"
	TypeFD        Type = "FD"
	TypePID       Type = "PID"
	TypeFSPath    Type = "FSPATH"
	TypeFSRelPath Type = "FSRELPATH"
	TypeSyscallID Type = "SYSCALLID"
	TypeSigType   Type = "SIGTYPE"
	TypeRelTime   Type = "RELTIME"
	TypeAbsTime   Type = "ABSTIME"
	TypePort      Type = "PORT"
	TypeBool      Type = "BOOL"
	TypeFlags8    Type = "FLAGS8"
	TypeFlags16   Type = "FLAGS16"
	TypeFlags32   Type = "FLAGS32"
	TypeDouble    Type = "DOUBLE"
	TypeMode      Type = "MODE"
	TypeEnum8     Type = "ENUMFLAGS8"
	TypeEnum16    Type = "ENUMFLAGS16"
	TypeEnum32    Type = "ENUMFLAGS32"
	TypeIPAddr    Type = "IPADDR"
	TypeIPNet     Type = "IPNET"
)

// unparseable holds the numbers that Falco prints for the types whose
// constants it cannot read.
var unparseable = map[Type]string{
	"NONE": "0", "SOCKTUPLE": "13", TypePID: "15", "FDLIST": "16", TypeSyscallID: "18",
	TypeSigType: "19", "DYNAMIC": "27", "UID": "31", "GID": "32", "SIGSET": "34",
	"CHARBUFARRAY": "35", "CHARBUF_PAIR_ARRAY": "36",
}

type kind uint8

const (
	kindOther kind = iota
	kindSigned
	kindUnsigned
	kindFloat
	kindBool
	kindString
	kindBytes
	kindIP
	kindNet
)

func (t Type) kind() kind {
	switch t {
	case TypeInt8, TypeInt16, TypeInt32, TypeInt64, TypeErrno, TypeFD, TypePID:
		return kindSigned
	case TypeUint8, TypeUint16, TypeUint32, TypeUint64, TypeSyscallID, TypeSigType, TypeRelTime,
		TypeAbsTime, TypePort, TypeFlags8, TypeFlags16, TypeFlags32, TypeMode, TypeEnum8, TypeEnum16, TypeEnum32:
		return kindUnsigned
	case TypeDouble:
		return kindFloat
	case TypeBool:
		return kindBool
	case TypeCharbuf, TypeFSPath, TypeFSRelPath:
		return kindString
	case TypeBytebuf:
		return kindBytes
	case TypeIPAddr, "IPV4ADDR", "IPV6ADDR":
		return kindIP
	case TypeIPNet, "IPV4NET", "IPV6NET":
		return kindNet
	default:
		return kindOther
	}
}

// PrintedInLists reports whether fields of the type are numbers that Falco
// prints when they stand in a list of a transformer.
func (t Type) PrintedInLists() bool { return t == TypePID || t == TypeInt64 || t == TypeUint64 }

// bits returns the width of a numeric type.
func (t Type) bits() uint {
	switch t {
	case TypeInt8, TypeUint8, TypeFlags8, TypeEnum8, TypeSigType:
		return 8
	case TypeInt16, TypeUint16, TypeFlags16, TypeEnum16, TypePort, TypeSyscallID:
		return 16
	case TypeInt32, TypeUint32, TypeFlags32, TypeEnum32, TypeMode:
		return 32
	default:
		return 64
	}
}

const (
	opsEquality = " = != in intersects "
	opsNumber   = opsEquality + "< <= > >= "
	opsString   = opsNumber + "contains icontains startswith endswith glob iglob regex pmatch "
	opsBuffer   = opsEquality + "contains startswith endswith bcontains bstartswith "
)

// incomparable says in Falco's words why op does not work on a field of type
// t. It returns "" when it does.
func incomparable(op, modifier string, t Type, list bool) string {
	if op == "exists" {
		return ""
	}
	if list {
		switch t {
		case TypeCharbuf, TypeUint64, TypeRelTime, TypeAbsTime, TypeBool, TypeIPAddr, TypeIPNet:
			if op == "in" || op == "intersects" {
				return ""
			}
			return "'" + op + "' operator not supported list filters"
		default:
			return "list filters are not supported for type '" + string(t) + "'"
		}
	}
	allowed, what := "", ""
	switch t.kind() {
	case kindSigned, kindUnsigned, kindFloat:
		allowed, what = opsNumber, "numeric filters"
	case kindBool:
		allowed, what = opsEquality, "numeric filters"
	case kindString:
		allowed, what = opsString, "string filters"
	case kindBytes:
		allowed, what = opsBuffer, "buffer filters"
	case kindIP, kindNet:
		allowed, what = opsEquality, "ip address and network filters"
	default:
		return "'" + op + "' operator not supported for type '" + string(t) + "'"
	}
	if hasWord(allowed, op) {
		return ""
	}
	if modifier != "" && (t.kind() == kindIP || t.kind() == kindNet) {
		return "'" + op + "' with modifier not supported for ip address and network filters"
	}
	return "'" + op + "' operator not supported for " + what
}

// operatorsFor lists the operators that work on a type, for hints.
func (l *Language) operatorsFor(t Type, list bool) string {
	all := ""
	for _, op := range l.grammar().operators {
		if op == "==" || incomparable(op, "", t, list) != "" {
			continue
		}
		if all != "" {
			all += ", "
		}
		all += op
	}
	return all
}

func hasWord(words, w string) bool {
	for i := 0; i+len(w) < len(words); i++ {
		if words[i] == ' ' && i+1+len(w) < len(words) && words[i+1:i+1+len(w)] == w && words[i+1+len(w)] == ' ' {
			return true
		}
	}
	return false
}
