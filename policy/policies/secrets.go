package policies

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"spire-falco/internal/redact"
)

// token is a secret by its form, as the services that give it out document it.
type token struct {
	// hints, in lower case and separated by a bar: text without any of them holds no such token.
	hints   string
	pattern string
}

var tokens = []token{
	{"slack", `(?i)hooks\.slack(-gov)?\.com(/|%2f)(services|workflows|triggers)(/|%2f)`},
	{"xox|xapp-", `\bxox[a-z]-[0-9A-Za-z-]{8}|\bxapp-\d-[0-9A-Za-z]`},
	{"discord|office.com", `discord(app)?\.com/api/webhooks/\d|\.webhook\.office\.com/webhookb2/`},
	{":aa", `\b\d{8,10}:AA[0-9A-Za-z_-]{33}\b`},
	{"private key|putty|age-secret", `-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|PuTTY-User-Key-File-\d|\bAGE-SECRET-KEY-1[0-9A-Z]{20}`},
	{"akia|asia|abia|acca", `\b(AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b`},
	{"bedrock-", `\bbedrock-api-key-[A-Za-z0-9+/=]{20}`},
	{"gh|github_pat_", `\bgh[pousr]_[0-9A-Za-z]{20}|\bgithub_pat_[0-9A-Za-z_]{20}`},
	{"gl", `\bgl(pat|dt|rt|cbt|ptt|ft|soat|imt|agent|oas|ffct)-[0-9A-Za-z_-]{16}|\bgl(sa|c)_[0-9A-Za-z_+/=]{20}`},
	{"eyj", `\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*`},
	{"aiza|ya29.|gocspx-", `\bAIza[0-9A-Za-z_-]{30}|\bya29\.[0-9A-Za-z_-]{20}|\bGOCSPX-[0-9A-Za-z_-]{20}`},
	{"k_live|k_test|whsec_", `\b[sr]k_(live|test)_[0-9A-Za-z]{10}|\bwhsec_[0-9A-Za-z+/=]{20}`},
	{"sg.|sk|key-", `\bSG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}|\bSK[0-9a-f]{32}\b|\bkey-[0-9a-f]{32}\b|\bsk-[0-9A-Za-z_-]{20}`},
	{"npm_|pypi-|dckr_", `\bnpm_[0-9A-Za-z]{30}|\bpypi-[0-9A-Za-z_-]{20}|\bdckr_(pat|oat)_[0-9A-Za-z_-]{20}`},
	{"hvs.|hvb.|hvr.|atlasv1.", `\bhv[sbr]\.[0-9A-Za-z_-]{20}|\batlasv1\.[0-9A-Za-z_-]{20}`},
	{"dop_v1_|dapi|hf_|shp|lin_api_", `\bdop_v1_[0-9a-f]{32}|\bdapi[0-9a-f]{32}|\bhf_[0-9A-Za-z]{30}|\bshp(at|ca|pa|ss)_[0-9a-fA-F]{20}|\blin_api_[0-9A-Za-z]{20}`},
	{"nrak-|nrjs-|nrii-|pul-|dp.|xkeysib-", `\bNR(AK|JS|II)-[0-9A-Z]{20}|\bpul-[0-9a-f]{40}|\bdp\.(pt|st|ct)\.[0-9A-Za-z]{20}|\bxkeysib-[0-9a-f]{32}`},
	{"accountkey|sharedaccesskey|sig=", `(AccountKey|SharedAccessKey)=[0-9A-Za-z+/=]{20}|[?&]sig=[0-9A-Za-z%+/=]{20}`},
	{"authorization", `(?i)\bauthorization["']?\s*[:=]\s*["']?(basic|bearer|token|apikey)\s+[0-9A-Za-z._~+/=-]{8}`},
	{"basic|bearer", `(?i)\b(basic|bearer)\s+[0-9A-Za-z._~+/=-]{16}`},
	{"$", `\$(2[abxy]|apr1|argon2id?|[156y])\$[0-9A-Za-z./$,=]{8}`},
	{"://", `[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"'{}$<>]*:[^/\s@"'{}$<>]+@`}, // user and password in a URL
	{"key=|token=|password=|passwd=|secret=", `(?i)[?&](api[_-]?key|access[_-]?token|auth[_-]?token|token|password|passwd|secret|client_secret|key)=[^&\s"'${}<>]{4}`},
	{"mysql|mariadb|sshpass|redis-cli", `(?i)\b(mysql\w*|mariadb|sshpass)\b[^|;&]*\s-p\s?[^\s$]|\bredis-cli\b[^|;&]*\s-a\s+[^\s$]`},
	{"--", `(?i)(^|\s)--[a-z-]*(password|passwd|passphrase|secret|api-?key|token)[ ]+[^\s$/<{-][^\s]*`},
	{"curl|wget", `(?i)\b(curl|wget)\b[^|;&]*\s(-u|--user)[ =]["']?[^\s:"'$]+:[^\s"'$]`},
	{"auth|client-key-data", `"auth"\s*:\s*"[0-9A-Za-z+/=]{8}|(?i)client-key-data["']?\s*:\s*["']?[0-9A-Za-z+/=]{20}`},
}

// patterns are compiled when a hint is met: most text has none.
var patterns = func() []func() *regexp.Regexp {
	out := make([]func() *regexp.Regexp, len(tokens))
	for i, t := range tokens {
		out[i] = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(t.pattern) })
	}
	return out
}()

var urlAlphabet = strings.NewReplacer("-", "+", "_", "/")

// shortest is the length under which text holds no secret by its form.
const shortest = 8

func secretForm(text string) bool {
	if len(text) < shortest {
		return false
	}
	lower := strings.ToLower(text)
	for i, t := range tokens {
		if hinted(lower, t.hints) && patterns[i]().MatchString(text) {
			return true
		}
	}
	return false
}

func hinted(lower, hints string) bool {
	for hint := range strings.SplitSeq(hints, "|") {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}

// encoded is what may be Base64 of something else.
var encoded = regexp.MustCompile(`[0-9A-Za-z+/_-]{20,}={0,2}`)

// looksSecret tells whether text holds a secret by its form, also one in Base64, twice at most.
func looksSecret(text string) bool { return secretWithin(text, 2) }

func secretWithin(text string, depth int) bool {
	if secretForm(text) {
		return true
	}
	if depth == 0 || len(text) < 20 {
		return false
	}
	candidates := encoded.FindAllString(text, -1)
	if whole := strings.Join(strings.Fields(text), ""); len(whole) < len(text) && encoded.FindString(whole) == whole {
		candidates = append(candidates, whole) // in lines
	}
	for _, c := range candidates {
		plain := strings.TrimRight(urlAlphabet.Replace(c), "=")
		decoded, err := base64.RawStdEncoding.DecodeString(plain)
		if err != nil && len(plain)%4 == 1 { // one letter too many belongs to the text around it
			decoded, err = base64.RawStdEncoding.DecodeString(plain[:len(plain)-1])
		}
		if err != nil {
			continue
		}
		if plain, ok := unpacked(decoded); ok {
			decoded = plain
		}
		if utf8.Valid(decoded) && secretWithin(string(decoded), depth-1) {
			return true
		}
	}
	return false
}

// mostUnpacked bounds what is unpacked of compressed text.
const mostUnpacked = 1 << 20

// unpacked is what gzip has packed.
func unpacked(data []byte) ([]byte, bool) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	out, err := io.ReadAll(io.LimitReader(r, mostUnpacked))
	return out, err == nil || len(out) > 0
}

// harmlessValue is a value that cannot be a secret: a switch, a path, a reference, or nothing.
var harmlessValue = regexp.MustCompile(`(?i)^(true|false|yes|no|none|null|nil|0|1|\s*|/.*|\$.*|\{.*|<.*|%.*|file:.*|vault:.*|optional|required|required,|ignore)$`)

func keyOfSecret(key string) bool {
	return redact.SecretName(key[strings.LastIndexAny(key, "./")+1:])
}

// assignment is a setting on a line of a file or of a command, such as db.password = hunter2.
var assignment = regexp.MustCompile(`(?im)(^|[\s,;{"'&<-])([A-Za-z0-9_.-]*(?:password|passwd|passphrase|secret|api[_-]?key|auth[_-]?token|access[_-]?token|access[_-]?key|secret[_-]?key|private[_-]?key|token))["']?\s*[:=>]\s*["']?([^\s"',;]{4,})`)

// assigned is the name of a setting in text whose value is a secret; "" for none.
func assigned(text string) string {
	if len(text) < shortest || !hinted(strings.ToLower(text), "pass|secret|key|token") {
		return ""
	}
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		if name := strings.TrimLeft(m[2], "-."); keyOfSecret(name) && !harmlessValue.MatchString(m[3]) {
			return name
		}
	}
	return ""
}

const intoSecret = "put it into a Secret and name that" //nolint:gosec // advice, no credential

// noSecret looks for secrets everywhere but in Secrets: by the mark of Pulumi, by their form, and by their name.
func noSecret(r Resource) []string {
	if !r.kubernetes() {
		return secretForms(r)
	}
	var out []string
	secret := r.is("", "Secret")
	for _, key := range sortedKeys(r.Inputs) {
		if secret && (key == "data" || key == "stringData") || key == "status" || key == "items" && strings.HasSuffix(r.Type, "List") {
			continue // items are resources of their own
		}
		out = append(out, secretsIn(r, value{r.Inputs[key]}, key)...)
	}
	for _, p := range podsOf(r) {
		for _, c := range p.containers() {
			out = append(out, secretsOfContainer(c)...)
		}
	}
	return out
}

// secretForms is all that can be said of what is not of Kubernetes: a secret belongs there under the mark of Pulumi.
func secretForms(r Resource) []string {
	var out []string
	for _, key := range sortedKeys(r.Inputs) {
		walkRaw(value{r.Inputs[key]}, key, func(path string, v value) bool {
			if text, ok := v.v.(string); ok && looksSecret(text) {
				out = append(out, path+" looks like a secret by its content; make it a secret of Pulumi")
			}
			_, marked := v.v.(Secret)
			return !marked
		})
	}
	return out
}

func secretsOfContainer(c value) []string {
	var out []string
	container := c.at("name").text()
	for _, e := range elements(c.at("env")) {
		name, raw := e.at("name").text(), value{e.fields()["value"]}
		if _, secret := raw.v.(Secret); secret || looksSecret(raw.text()) || keyOfSecret(name) && !harmlessValue.MatchString(raw.text()) {
			out = append(out, fmt.Sprintf("the variable %s of container %s holds a secret; take it from a Secret by valueFrom.secretKeyRef", name, container))
		}
	}
	for _, field := range []string{"command", "args"} {
		words := c.at(field).list()
		for i, w := range words {
			text := w.text()
			flag := strings.HasPrefix(text, "-") && !strings.ContainsAny(text, "= ") && keyOfSecret(strings.TrimLeft(text, "-"))
			switch {
			case assigned(text) != "":
				out = append(out, fmt.Sprintf("%s of container %s sets %s; take it from a Secret", field, container, assigned(text)))
			case flag && i+1 < len(words) && !strings.HasPrefix(words[i+1].text(), "-") && !harmlessValue.MatchString(words[i+1].text()):
				out = append(out, fmt.Sprintf("%s of container %s sets %s; take it from a Secret", field, container, text))
			}
		}
	}
	return out
}

func secretsIn(r Resource, v value, at string) []string {
	var out []string
	if v.v == nil {
		return nil
	}
	config := r.is("", "ConfigMap")
	named := r.isRelease() || config
	annotations := strings.HasPrefix(at, "metadata")
	walkRaw(v, at, func(path string, v value) bool {
		_, secret := v.v.(Secret)
		text, _ := v.v.(string)
		for _, key := range sortedKeys(v.fields()) {
			if looksSecret(key) {
				out = append(out, path+" has a name that looks like a secret; "+intoSecret)
			}
		}
		switch {
		case secret:
			out = append(out, path+" is a secret; "+intoSecret)
		case text == "":
			return true
		case config && keyFile.MatchString(path):
			out = append(out, path+" is a file of keys by its name; "+intoSecret)
		case looksSecret(text):
			out = append(out, path+" looks like a secret by its content; "+intoSecret)
		case keyOfSecret(path) && !harmlessValue.MatchString(text) && (named && at != "metadata" || annotations && strings.Contains(path, ".annotations.")) && !isFile(path, config):
			out = append(out, path+" is a secret by its name; "+intoSecret)
		case (config || at == "valueYamlFiles") && assigned(text) != "" && !strings.HasPrefix(r.in("metadata", "name").text(), rulesPrefix):
			out = append(out, fmt.Sprintf("%s sets %s; %s", path, assigned(text), intoSecret))
		case r.isRelease() && strings.EqualFold(path, "values.webui.user") && strings.Contains(text, ":"):
			out = append(out, path+" is a user with a password; "+intoSecret)
		case r.isRelease() && strings.HasPrefix(path, "values.") && assigned(text) != "" && strings.ContainsAny(text, "\n="):
			out = append(out, fmt.Sprintf("%s sets %s; %s", path, assigned(text), intoSecret))
		}
		return !secret
	})
	return out
}

// keyFile is the name of a file that holds keys, also when its content cannot be read.
var keyFile = regexp.MustCompile(`(?i)\.(p12|pfx|jks|keystore|kdbx|key|ppk|htpasswd|pgpass|netrc|dockercfg|dockerconfigjson)$|\.id_(rsa|dsa|ecdsa|ed25519)$`)

var fileName = regexp.MustCompile(`\.(ya?ml|json|conf|cfg|toml|ini|properties|txt|md|sh|crt|pem)$`)

// isFile tells whether the value of a ConfigMap is a whole file, whose lines are looked at instead.
func isFile(path string, config bool) bool { return config && fileName.MatchString(path) }

// walkRaw is walk that keeps the marks of secrets and goes no deeper where visit says so.
func walkRaw(v value, path string, visit func(path string, v value) bool) {
	if !visit(path, v) {
		return
	}
	switch m := v.v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(m) {
			walkRaw(value{m[k]}, path+"."+k, visit)
		}
	case []any:
		for i, item := range m {
			walkRaw(value{item}, fmt.Sprintf("%s[%d]", path, i), visit)
		}
	}
}
