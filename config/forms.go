package config

import (
	"path"
	"strings"

	"spire-falco/internal/lazyregexp"
)

// Forms of the values that become part of a rule. None of them allows quotes, backslashes, parentheses or line ends, so no
// setting becomes syntax of a condition or of YAML.
var (
	pathForm     = lazyregexp.New(`^(/[A-Za-z0-9._@+~-]+)+$`)
	argumentForm = lazyregexp.New(`^[A-Za-z0-9 ._@+~/:=,-]+$`)
	imageForm    = lazyregexp.New(`^[a-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5}/[A-Za-z0-9._-]+)?(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$`)
	ruleFileForm = lazyregexp.New(`^[A-Za-z0-9][-A-Za-z0-9_.]*\.yaml$`)
)

// maxInRule is how long a value may be to stand in a rule, in bytes: Falco takes 255 ("filter parameter too long"), and some
// get a blank or a slash around them.
const maxInRule = 250

const (
	// WantPath says what ValidPath allows.
	WantPath = "an absolute path without . or .. parts, made of letters, digits and ._@+~-, of at most 250 bytes"
	// WantArgument says what ValidArgument allows.
	WantArgument = "made of letters, digits, spaces and ._@+~/:=,-, of at most 250 bytes with all others"
	// OwnRulesPrefix is how the names of this project's rule files begin. No file of the user's may have it.
	OwnRulesPrefix = "spire-mtls-"
)

// ValidPath reports whether p can stand in a rule as a path of a file or folder.
func ValidPath(p string) bool {
	return len(p) <= maxInRule && pathForm.MatchString(p) && path.Clean(p) == p
}

// ValidArgument reports whether a can stand in a rule as an argument of a command.
func ValidArgument(a string) bool { return len(a) <= maxInRule && argumentForm.MatchString(a) }

// ValidImage reports whether image is the name of a container image, with or without tag and digest.
func ValidImage(image string) bool {
	name, _, _ := strings.Cut(image, "@") // a digest stands in a rule by itself
	return len(name) <= maxInRule && imageForm.MatchString(image)
}

// ValidRuleFile reports whether name can be that of a rule file: a key of a ConfigMap and a path without blanks.
func ValidRuleFile(name string) bool { return len(name) <= 253 && ruleFileForm.MatchString(name) }
