package ruleset

import (
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco/condition"
	"spire-falco/internal/lazyregexp"
)

// What follows looks at checks that Falco accepts and that no event can pass:
// fields without a value, and values that the field never has.

// deadPrefixes are the fields that Falco keeps for old rules and never fills
// (sinsp_filtercheck_k8s.cpp and others of its libraries, extract.cpp of the
// container plugin). A name with a dot at its end stands for all that start so.
var deadPrefixes = []string{
	"k8s.rc.", "k8s.rs.", "k8s.svc.", "k8s.deployment.", "k8s.ns.id", "k8s.ns.label", "k8s.ns.labels",
	"mesos.", "marathon.", "span.", "evtin.",
}

// deadSince044 are those that the container plugin of Falco 0.44 no longer fills.
var deadSince044 = []string{
	"proc.is_container_healthcheck", "proc.is_container_liveness_probe", "proc.is_container_readiness_probe",
}

func deadField(lang *condition.Language, name string) bool {
	if slices.Contains(deadSince044, name) {
		return lang.Version().AtLeast("0.44")
	}
	return slices.ContainsFunc(deadPrefixes, func(p string) bool {
		return name == p || strings.HasSuffix(p, ".") && strings.HasPrefix(name, p)
	})
}

func deadHint(name string) string {
	switch {
	case strings.HasPrefix(name, "k8s.ns."):
		return "use k8s.ns.name"
	case strings.HasPrefix(name, "k8s."):
		return "Falco does not ask the Kubernetes API: use k8s.pod.label[...], k8s.pod.name startswith NAME, or k8s.ns.name"
	}
	return "leave it out"
}

// outputNeedsIndex are the fields of all ancestors. Falco up to 0.43 reads them
// without an index in conditions alone; 0.44 prints the ancestors in a row.
var outputNeedsIndex = []string{"proc.aname", "proc.aexe", "proc.aexepath", "proc.acmdline", "proc.apid"}

var outputFieldName = lazyregexp.New(`%[0-9]*((?:[a-z0-9]+\()*)([a-z0-9_]+(?:\.[a-z0-9_]+)+)(\[?)`)

// output looks at the fields that an output prints.
func (l *linter) output() {
	output := l.rule.info.output
	for _, m := range outputFieldName().FindAllStringSubmatchIndex(output.s, -1) {
		name, at := output.s[m[4]:m[5]], output.placeOf(m[0]).location()
		bare := strings.TrimRight(name, ".")
		switch {
		case deadField(l.lang, bare):
			l.report(LintDeadOutput, at, "%"+bare+" always prints <NA>: Falco never fills it", deadHint(bare))
		case m[6] == m[7] && slices.Contains(outputNeedsIndex, bare):
			why := " prints no ancestor without an index: Falco " + l.lang.Version().Number + " reads it so in conditions alone"
			if l.lang.Version().AtLeast("0.44") {
				why = " prints all ancestors in a row without an index, and up to Falco 0.43 none"
			}
			l.report(LintOutputIndex, at, "%"+bare+why, "write %"+bare+"[1], %"+bare+"[2] and so on, each with its number")
		}
	}
}

// fault is what makes a value one that a field never has.
type fault struct {
	code      FindingCode
	why, hint string
}

// values looks at what each check compares with.
func (l *linter) values() {
	type found struct {
		fault
		at    condition.Location
		check condition.Expr
		all   bool // no value of the check is left
	}
	var all []found
	never := map[condition.Expr]bool{}
	condition.Walk(l.rule.condition, func(e condition.Expr) bool {
		var left condition.Expr
		switch n := e.(type) {
		case *condition.Unary:
			left = n.Left
		case *condition.Binary:
			left = n.Left
		default:
			return true
		}
		if name := checkedField(left); deadField(l.lang, name) {
			never[e] = true
			all = append(all, found{fault{LintDeadField, name + " never has a value: Falco does not fill it", deadHint(name)}, l.at(left), e, true})
			return false
		}
		b, ok := e.(*condition.Binary)
		if !ok {
			return false
		}
		values := constants(b)
		bad := 0
		first := len(all)
		for i, v := range values {
			f, ok := l.impossible(b, v)
			if !ok {
				continue
			}
			bad++
			at := l.at(b.Right)
			if list, ok := b.Right.(*condition.List); ok {
				if loc, ok := list.PositionOf(i).Location(); ok {
					at = loc
				}
			}
			all = append(all, found{f, at, e, false})
		}
		if bad > 0 && bad == len(values) {
			for i := first; i < len(all); i++ {
				all[i].all = true
			}
			never[e] = b.Op != "!="
		}
		return false
	})
	dead := len(never) > 0 && !(assumption{lang: l.lang, never: never}).possible(l.rule.condition).canTrue
	for _, f := range all {
		msg := f.why
		switch {
		case dead && never[f.check]:
			msg = "the rule never fires: " + msg
		case f.all:
			msg += ": the check is never true"
			if b, ok := f.check.(*condition.Binary); ok && b.Op == "!=" {
				msg = f.why + ": the check is always true"
			}
		}
		l.report(f.code, f.at, msg, f.hint)
	}
}

// impossible reports what is wrong with a value of a check that the field never has.
func (l *linter) impossible(b *condition.Binary, v string) (fault, bool) {
	if !comparesText(b.Op) || v == "" {
		return fault{}, false
	}
	for _, test := range []func(*linter, *condition.Binary, string) (fault, bool){
		(*linter).typographic, (*linter).foldedCase, (*linter).processName, (*linter).result, (*linter).path,
	} {
		if f, ok := test(l, b, v); ok {
			return f, true
		}
	}
	return fault{}, false
}

// comparesText reports whether an operator compares with the very characters of
// its value. With a modifier behind it, it compares with each value so.
func comparesText(op string) bool {
	switch word, _, _ := strings.Cut(op, " "); word {
	case "=", "==", "!=", "in", "intersects", "startswith", "endswith", "contains", "icontains", "glob", "iglob":
		return true
	}
	return false
}

// equals reports whether an operator compares with the whole of a value.
func equals(op string) bool {
	return slices.Contains([]string{"=", "==", "!=", "in", "intersects"}, op)
}

// pairs are the quotation marks that word processors put in place of plain ones.
var pairs = []string{"“”", "„“", "””", "‘’", "‚‘", "’’", "«»", "»«", "‹›"}

func (l *linter) typographic(_ *condition.Binary, v string) (fault, bool) {
	for _, p := range pairs {
		r := []rune(p)
		if inner, ok := strings.CutPrefix(v, string(r[0])); ok && strings.HasSuffix(inner, string(r[1])) {
			return fault{LintTypographic, "the value " + quote(v) + " has typographic quotes, which are part of it", "write plain quotes: " + quote(strings.TrimSuffix(inner, string(r[1])))}, true
		}
		// An unquoted value ends at a blank: its first word has the opening mark alone.
		if strings.HasPrefix(v, string(r[0])) && !strings.ContainsAny(v[len(string(r[0])):], p) && r[0] != '’' {
			return fault{LintTypographic, "the value " + quote(v) + " begins with a typographic quote, which is part of it", `write plain quotes: "..."`}, true
		}
	}
	return fault{}, false
}

// folding returns the outermost change of case that a check applies to its field.
func folding(e condition.Expr) string {
	for {
		t, ok := e.(*condition.Transformer)
		if !ok {
			return ""
		}
		switch t.Name {
		case "tolower", "toupper":
			return t.Name
		case "basename":
			e = t.Value
		default:
			return ""
		}
	}
}

func (l *linter) foldedCase(b *condition.Binary, v string) (fault, bool) {
	if strings.HasPrefix(b.Op, "i") && b.Op != "in" && b.Op != "intersects" {
		return fault{}, false // icontains and iglob compare without case
	}
	switch fold := folding(b.Left); {
	case fold == "tolower" && strings.ContainsAny(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return fault{LintFoldedCase, quote(v) + " has capitals, and tolower(...) returns none", "write " + quote(strings.ToLower(v))}, true
	case fold == "toupper" && strings.ContainsAny(v, "abcdefghijklmnopqrstuvwxyz"):
		return fault{LintFoldedCase, quote(v) + " has small letters, and toupper(...) returns none", "write " + quote(strings.ToUpper(v))}, true
	}
	return fault{}, false
}

// maxComm is how many characters of a program's name the kernel keeps.
const maxComm = 15

// comm are the fields that have the kernel's name of a process.
var comm = []string{"proc.name", "proc.pname", "proc.aname", "proc.sname", "proc.vpgid.name", "proc.pgid.name"}

// sameLength reports whether the transformers around a field keep its text as
// long and with the same slashes.
func sameLength(e condition.Expr) bool {
	for {
		t, ok := e.(*condition.Transformer)
		if !ok {
			return true
		}
		if t.Name != "tolower" && t.Name != "toupper" {
			return false
		}
		e = t.Value
	}
}

// kernelThread matches the names of kernel threads, which may have a slash and
// be longer, and those that runc and others give themselves.
var kernelThread = lazyregexp.New(`^\[?(kworker|ksoftirqd|migration|cpuhp|idle_inject|irq|jbd2|rcu[a-z_]*|watchdog|ktimers|posixcputmr|backlog_napi|xfs[a-z-]*|` +
	`events|kdevtmpfs|nfsd|cifs[a-z]*|btrfs[a-z-]*|dm[a-z-]*|ext4[a-z-]*|scsi_[a-z]+|loop[0-9]*|kthrotld|rcuo[a-z]*|rcub|rcuc|rcuop|rcuos|runc:)[/:\[]?`)

// renamed are the names with a slash that processes are known to have: of
// programs that name themselves so, and of none ("N/A", of old captures).
var renamed = []string{"/usr/sbin/spamd", "N/A"}

func (l *linter) processName(b *condition.Binary, v string) (fault, bool) {
	field := checkedField(b.Left)
	if !slices.Contains(comm, field) || !sameLength(b.Left) || kernelThread.MatchString(v) || slices.Contains(renamed, v) {
		return fault{}, false
	}
	literal := v
	if strings.Contains(b.Op, "glob") {
		if strings.ContainsAny(v, `[\`) {
			return fault{}, false
		}
		literal = strings.ReplaceAll(v, "*", "")
	}
	if strings.Contains(literal, "/") {
		base := strings.TrimRight(v, "/*")
		base = base[strings.LastIndexByte(base, '/')+1:]
		hint := "compare proc.exepath with the path"
		if equals(b.Op) && base != "" {
			hint = "write " + quote(base[:min(len(base), maxComm)]) + ", or " + hint
		}
		return fault{LintNameWithPath, field + " is a name without a directory and has no slash, as " + quote(v) + " does", hint}, true
	}
	if len(literal) > maxComm {
		hint := "compare proc.exepath"
		if equals(b.Op) || strings.HasPrefix(b.Op, "startswith") {
			hint = "write " + quote(v[:maxComm]) + ", or " + hint
		}
		return fault{LintNameTooLong, field + " has at most 15 characters, and " + quote(v) + " has " + strconv.Itoa(len(literal)), hint}, true
	}
	return fault{}, false
}

// errnoNames are the errors that Falco knows by name (sinsp_utils::errno_to_str,
// the same from libs 0.20 to 0.25).
var errnoNames = strings.Fields(`EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
	ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
	EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG
	EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE
	ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN
	ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
	ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET
	ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
	EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ERESTARTSYS
	ERESTARTNOINTR ERESTARTNOHAND ENOIOCTLCMD ERESTART_RESTARTBLOCK EBADHANDLE ENOTSYNC EBADCOOKIE ENOTSUPP ETOOSMALL
	ESERVERFAULT EBADTYPE EJUKEBOX EIOCBQUEUED EIOCBRETRY`)

// sameErrno are names of C for errors that Falco knows under another name.
var sameErrno = map[string]string{"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP"}

// unnamedErrno is the first error number that Falco prints as a number.
const unnamedErrno = 126

func (l *linter) result(b *condition.Binary, v string) (fault, bool) {
	if f, ok := b.Left.(*condition.Field); !ok || f.Name != "evt.res" || strings.Contains(b.Op, "glob") || b.Op == "icontains" {
		return fault{}, false
	}
	results := append([]string{"SUCCESS"}, errnoNames...)
	word, _, _ := strings.Cut(b.Op, " ")
	fits := func(result string) bool {
		switch word {
		case "startswith":
			return strings.HasPrefix(result, v)
		case "endswith":
			return strings.HasSuffix(result, v)
		case "contains":
			return strings.Contains(result, v)
		}
		return result == v
	}
	if slices.ContainsFunc(results, fits) {
		return fault{}, false
	}
	if n, err := strconv.Atoi(v); err == nil {
		if n <= -unnamedErrno {
			return fault{}, false
		}
		hint := "compare evt.rawres with a number"
		if n == 0 {
			hint = "write evt.res = SUCCESS or evt.rawres = 0"
		}
		return fault{LintResult, "evt.res is SUCCESS or the name of an error such as ENOENT, never " + v, hint}, true
	}
	if !equals(b.Op) {
		if strings.Trim(v, "-0123456789") == "" {
			return fault{}, false // a part of a number that has no name
		}
		return fault{LintResult, "no value of evt.res fits " + b.Op + " " + quote(v), "evt.res is SUCCESS or the name of an error such as ENOENT"}, true
	}
	hint := "evt.res is SUCCESS or the name of an error such as ENOENT"
	upper := strings.ToUpper(v)
	if other, ok := sameErrno[upper]; ok {
		hint = "Falco calls it " + other
	} else if near := condition.Nearest(upper, results); near != "" {
		hint = "did you mean " + near + "?"
	}
	return fault{LintResult, "evt.res is never " + quote(v), hint}, true
}

// sanitized are the fields of paths from which Falco cuts a slash at the end.
var sanitized = []string{"fs.path.name", "fs.path.source", "fs.path.target"}

func (l *linter) path(b *condition.Binary, v string) (fault, bool) {
	field := checkedField(b.Left)
	if !sameLength(b.Left) {
		if t, ok := b.Left.(*condition.Transformer); !ok || t.Name != "basename" || strings.Contains(b.Op, "glob") || !strings.Contains(v, "/") {
			return fault{}, false
		}
		return fault{LintSlash, "basename(...) returns what is behind the last slash, and " + quote(v) + " has one", "leave the directory out"}, true
	}
	endsInSlash := len(v) > 1 && strings.HasSuffix(v, "/") && (equals(b.Op) || strings.HasPrefix(b.Op, "endswith"))
	switch {
	case (field == "fd.directory" || slices.Contains(sanitized, field)) && endsInSlash:
		return fault{LintSlash, field + " has no slash at its end, as " + quote(v) + " does", "write " + quote(strings.TrimRight(v, "/"))}, true
	case field == "fd.filename" && strings.Contains(v, "/") && v != "/" && !strings.Contains(b.Op, "glob") && !strings.HasSuffix(v, "/"):
		return fault{LintSlash, "fd.filename is what is behind the last slash, and " + quote(v) + " has one", "use fd.name for the whole path"}, true
	}
	return fault{}, false
}

// atCalls names for an old call those that do the same from a directory. The C
// libraries use the new ones, and arm64 has no others.
var atCalls = map[string][]string{
	"open": {"openat", "openat2"}, "unlink": {"unlinkat"}, "rename": {"renameat", "renameat2"}, "link": {"linkat"},
	"symlink": {"symlinkat"}, "mkdir": {"mkdirat"}, "chmod": {"fchmodat"}, "chown": {"fchownat"}, "mknod": {"mknodat"},
}

// missingCalls reports an old call that a rule asks for without its successors.
// Nearly every open is an openat today: openat2 does not make up for it.
func (l *linter) missingCalls(alive []string) {
	at := l.rule.info.cond.first().location()
	for _, old := range alive {
		newer := atCalls[old]
		if old == "open" {
			newer = newer[:1]
		}
		if len(newer) == 0 || slices.ContainsFunc(newer, func(n string) bool { return slices.Contains(alive, n) }) {
			continue
		}
		known := slices.DeleteFunc(slices.Clone(atCalls[old]), func(n string) bool { return !l.lang.KnownEventType(n) })
		l.report(LintOldCall, at, "asks for "+old+" and not for "+strings.Join(known, " or ")+": most programs use "+known[0]+" today, and arm64 has no "+old,
			"write evt.type in ("+strings.Join(append([]string{old}, known...), ", ")+")")
	}
}

// contradictions reports two comparisons of one field that cannot both hold.
func (l *linter) contradictions() {
	condition.Walk(l.rule.condition, func(e condition.Expr) bool {
		and, ok := e.(*condition.And)
		if !ok {
			return true
		}
		type wanted struct {
			check  *condition.Binary
			values []string
		}
		seen := map[string]wanted{}
		for _, c := range and.Children {
			b, ok := c.(*condition.Binary)
			if !ok || b.Op != "=" && b.Op != "==" && b.Op != "in" {
				continue
			}
			f, ok := b.Left.(*condition.Field)
			values := constants(b)
			if !ok || len(values) == 0 || !l.singleValue(f) {
				continue
			}
			before, ok := seen[f.FullName()]
			if !ok {
				seen[f.FullName()] = wanted{b, values}
				continue
			}
			if !slices.ContainsFunc(values, func(v string) bool { return slices.Contains(before.values, v) }) {
				l.report(LintContradiction, l.at(b), f.FullName()+" cannot be "+shownValues(values)+" and also "+shownValues(before.values)+": both are asked for",
					"join alternatives with or, or with in (...)")
			}
		}
		return true
	})
}

func shownValues(values []string) string {
	if len(values) == 1 {
		return quote(shorten(values[0]))
	}
	return "one of " + strconv.Itoa(len(values)) + " values"
}

// singleValue reports whether a field has one text per event, which only the
// same text equals.
func (l *linter) singleValue(f *condition.Field) bool {
	ref, ok, err := l.lang.LookupField(f.FullName())
	if !ok || err != nil || ref.Info.List || ref.Type != condition.TypeCharbuf {
		return false
	}
	// Without an index these look at all ancestors.
	return f.Arg != "" || !slices.Contains(append([]string{"proc.aenv", "proc.aargs", "proc.env", "proc.args"}, outputNeedsIndex...), f.Name)
}
