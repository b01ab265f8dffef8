package policies

import (
	"fmt"
	"regexp"
	"strings"
)

// secretText is text that is a secret by its form.
var secretText = regexp.MustCompile(`hooks\.slack\.com/(services|workflows)/|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bxox[abpr]-|\bgh[pousr]_[0-9A-Za-z]{20}|https?://[^/\s:@]+:[^/\s@]+@`)

// secretKey is a name whose value is a secret.
var secretKey = regexp.MustCompile(`(password|passwd|passphrase|secret|token|apikey|webhookurl|secretaccesskey|secretkey|privatekey|credentials?)$`)

// secretReference is a name that ends alike, whose value only names a Secret.
var secretReference = regexp.MustCompile(`(existingsecret|imagepullsecrets?|automountserviceaccounttoken)$`)

func keyOfSecret(key string) bool {
	key = strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(key[strings.LastIndex(key, ".")+1:]))
	return secretKey.MatchString(key) && !secretReference.MatchString(key)
}

func noSecret(r Resource) []string {
	switch {
	case r.is(releaseType):
		return append(secretsIn(r.in("values"), "values"), secretsIn(value{r.Inputs["valueYamlFiles"]}, "valueYamlFiles")...)
	case r.is(configMapType):
		return append(secretsIn(value{r.Inputs["data"]}, "data"), secretsIn(value{r.Inputs["binaryData"]}, "binaryData")...)
	}
	pod, ok := podOf(r)
	if !ok {
		return nil
	}
	var out []string
	for _, c := range pod.containers() {
		for _, e := range c.at("env").list() {
			name := e.at("name").text()
			raw := value{e.fields()["value"]}
			if _, secret := raw.v.(Secret); secret || secretText.MatchString(raw.text()) || raw.text() != "" && keyOfSecret(name) {
				out = append(out, fmt.Sprintf("the variable %s of container %s holds a secret; take it from a Secret by valueFrom.secretKeyRef", name, c.at("name").text()))
			}
		}
	}
	return out
}

func secretsIn(v value, at string) []string {
	var out []string
	if v.v == nil {
		return nil
	}
	walkRaw(v, at, func(path string, v value) bool {
		_, secret := v.v.(Secret)
		text := v.text()
		switch {
		case secret:
			out = append(out, path+" is a secret; put it into a Secret and name that")
		case text == "":
			return true
		case secretText.MatchString(text):
			out = append(out, path+" looks like a secret by its content; put it into a Secret and name that")
		case keyOfSecret(path) && !strings.HasPrefix(at, "data"):
			out = append(out, path+" is a secret by its name; put it into a Secret and name that")
		}
		return !secret
	})
	return out
}

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
