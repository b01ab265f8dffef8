// Package redact finds credentials in text that should not contain any, and removes them from messages.
package redact

import (
	"strings"

	"spire-falco/internal/lazyregexp"
)

// mark replaces a credential.
const mark = "[redacted]"

// form is one kind of credential that can be recognised by its form.
type form struct {
	name string
	// hide matches text that must not be shown; its second group is replaced. It matches rather too much.
	hide lazyregexp.Regexp
	// find matches only text that is certainly a credential; nil means hide.
	find lazyregexp.Regexp
}

var forms = []form{
	{
		name: "a password in a URL",
		hide: lazyregexp.New(`(://)([^\s"'<>]*)@`), // to the last @, because a password may contain @ and /
		find: lazyregexp.New(`://[^/\s?#@:]*:[^/\s?#@]+@`),
	},
	{
		name: "a user with a password",
		hide: lazyregexp.New(`([^\s"'/@:=]:)(/?[^\s"'@/][^\s"'@]*)@`),                   // also where a URL lacks its scheme
		find: lazyregexp.New(`(?:^|[\s"'=])[^\s"'/@:=]+:[^\s"'/@]+@(?:tcp|unix|udp)\(`), // as MySQL's drivers write it
	},
	{
		name: "a credential in the query of a URL",
		hide: lazyregexp.New(`(?i)([?&;#][^=&;#\s"']*(?:key|token|secret|passw|pwd|auth|sig|credential|session)[^=&;#\s"']*=)([^&;#\s"']+)`),
		find: lazyregexp.New(`(?i)[?&](?:(?:[a-z0-9_.-]*[_.-])?(?:api[_-]?key|access[_-]?key|token|secret|passw(?:or)?d|pwd|auth|authorization|sig|signature|credentials?)|key|accesstoken|authtoken|clientsecret)=[^&#\s]`),
	},
	{name: "a Slack webhook", hide: lazyregexp.New(`(?i)(hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/)([^\s"']+)`)},
	{name: "a private key", hide: lazyregexp.New(`(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)([\s\S]*)`)},
	{name: "an access token", hide: lazyregexp.New(`(\b)((?:xox[abeprs]-[0-9A-Za-z-]{8,}|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}|glpat-[0-9A-Za-z_-]{16,}|AKIA[0-9A-Z]{16}\b|pul-[0-9a-f]{40}\b|eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*))`)},
}

// String returns text with every credential replaced.
func String(text string) string {
	for _, f := range forms {
		var b strings.Builder
		done := 0
		for _, at := range f.hide().FindAllStringSubmatchIndex(text, -1) {
			if strings.HasPrefix(text[at[1]:], "sha256:") { // an image by digest, in a registry with a port
				continue
			}
			b.WriteString(text[done:at[4]])
			b.WriteString(mark)
			done = at[5]
		}
		b.WriteString(text[done:])
		text = b.String()
	}
	return text
}

// Find returns the kind of credential in text, such as "an access token"; empty if there is none.
func Find(text string) string {
	for _, f := range forms {
		find := f.find
		if find == nil {
			find = f.hide
		}
		if find.MatchString(text) {
			return f.name
		}
	}
	return ""
}

var (
	secretName = lazyregexp.New(`(password|passwd|pwd|passphrase|secret|token|apikey|authkey|accesskey|webhookurl|webhook|secretaccesskey|secretkey|privatekey|encryptionkey|signingkey|connectionstring|credentials?)$`)
	// secretReference are names that end alike, whose values only name a Secret.
	secretReference = lazyregexp.New(`(existing[a-z]*secret|tlssecret|imagepullsecrets?|automountserviceaccounttoken|namespaceselector)$`)
	separators      = strings.NewReplacer("_", "", "-", "", ".", "")
)

// SecretName tells whether the value of a variable or field of that name is a credential, as in DB_PASSWORD. A name
// such as TOKEN_FILE says where one is, and one such as existingSecret which Secret has it.
func SecretName(name string) bool {
	plain := strings.ToLower(separators.Replace(name))
	return secretName.MatchString(plain) && !secretReference.MatchString(plain)
}
