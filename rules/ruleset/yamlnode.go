package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// node is a YAML node as Falco's YAML library sees it: aliases resolved, the
// first of duplicate keys counts, merge keys are keys like others, only plain
// scalars can be null, and any scalar may be read as a truth value or a number.
type node struct {
	*yaml.Node
	src *source
}

func (n node) defined() bool { return n.Node != nil }

func (n node) wrap(y *yaml.Node) node {
	for depth := 0; y != nil && y.Kind == yaml.AliasNode && depth < 100; depth++ {
		y = y.Alias
	}
	return node{y, n.src}
}

func (n node) isScalar() bool {
	return n.Node != nil && n.Kind == yaml.ScalarNode && !n.isNull()
}

func (n node) isNull() bool {
	if n.Node == nil || n.Kind != yaml.ScalarNode || n.Style&^yaml.FlowStyle != 0 {
		return false
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

func (n node) isMap() bool      { return n.Node != nil && n.Kind == yaml.MappingNode }
func (n node) isSequence() bool { return n.Node != nil && n.Kind == yaml.SequenceNode }

// get returns the value of a key, an undefined node when there is none.
func (n node) get(key string) node {
	if !n.isMap() {
		return node{nil, n.src}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.wrap(n.Content[i]); k.isScalar() && k.Value == key {
			return n.wrap(n.Content[i+1])
		}
	}
	return node{nil, n.src}
}

// keyPlace returns where a key is written, or the node itself when it has none.
func (n node) keyPlace(key string) place {
	if n.isMap() {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.wrap(n.Content[i]); k.isScalar() && k.Value == key {
				return node{n.Content[i], n.src}.place()
			}
		}
	}
	return n.place()
}

func (n node) items() []node {
	if !n.isSequence() {
		return nil
	}
	list := make([]node, len(n.Content))
	for i, c := range n.Content {
		list[i] = n.wrap(c)
	}
	return list
}

func (n node) place() place {
	if n.Node == nil {
		return place{n.src, 0}
	}
	return place{n.src, n.src.offset(n.Line, n.Column)}
}

// truth reads y, yes, true, on and their opposites, in lower, upper or
// capitalised case.
func (n node) truth() (value, ok bool) {
	v := n.Value
	l := strings.ToLower(v)
	if l == "" {
		return false, false
	}
	if v != l && v != strings.ToUpper(v) && v != strings.ToUpper(l[:1])+l[1:] {
		return false, false
	}
	switch l {
	case "y", "yes", "true", "on":
		return true, true
	case "n", "no", "false", "off":
		return false, true
	}
	return false, false
}

// unsigned reads a number of 32 bits as C++ streams do, with 0x for
// hexadecimal and a leading 0 for octal.
func (n node) unsigned() (uint32, bool) {
	v := strings.TrimRight(n.Value, " \t\n\r\v\f")
	v = strings.TrimLeft(v, " \t\n\r\v\f")
	v = strings.TrimPrefix(v, "+")
	hex := strings.HasPrefix(strings.ToLower(v), "0x")
	if strings.ContainsAny(v, "_-+") || !hex && strings.ContainsAny(v, "bBoO") {
		return 0, false
	}
	num, err := strconv.ParseUint(v, 0, 32)
	return uint32(num), err == nil
}

// text returns the scalar's value with the place that each byte comes from.
func (n node) text() text {
	start := n.place()
	t := placed(n.Value, start)
	src := start.src.content
	i := start.off
	i = skipProperties(src, i)
	quote := byte(0)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		if k := strings.IndexByte(src[min(i, len(src)):], '\n'); k >= 0 {
			i += k + 1
		}
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 && i < len(src):
		quote = src[i]
		i++
	}
	for k := 0; k < len(n.Value); k++ {
		c := n.Value[k]
		if isBlank(c) {
			if i < len(src) && isBlank(src[i]) {
				t.at[k].off = i
				i++
			}
			continue
		}
		for i < len(src) && isBlank(src[i]) {
			i++
		}
		if i >= len(src) {
			break
		}
		t.at[k].off = i
		switch {
		case src[i] == c && !(quote == '"' && c == '\\'):
			i++
			if quote == '\'' && c == '\'' && i < len(src) && src[i] == '\'' {
				i++
			}
		case quote == '"' && src[i] == '\\':
			i += 2
		default:
			// Out of step (an escape of several bytes): keep the rest together.
			for ; k < len(n.Value); k++ {
				t.at[k].off = i
			}
		}
	}
	return t
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skipProperties steps over the anchor and the tag before a scalar.
func skipProperties(src string, i int) int {
	for i < len(src) && (src[i] == '&' || src[i] == '!') {
		for i < len(src) && !isBlank(src[i]) {
			i++
		}
		for i < len(src) && isBlank(src[i]) {
			i++
		}
	}
	return i
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// parseYAML returns the documents of a file. The error is a *loadError.
func parseYAML(src *source) (docs []node, err error) {
	defer func() {
		// The YAML library gives up on some broken files by panicking.
		if r := recover(); r != nil {
			docs, err = nil, fail(ErrYAMLParse, place{src, 0}, "", fmt.Sprint("unreadable YAML: ", r))
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader([]byte(src.content)))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			at := place{src, 0}
			if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
				if line, convErr := strconv.Atoi(m[1]); convErr == nil {
					at.off = src.offset(line, 1)
					for at.off < len(src.content) && isBlank(src.content[at.off]) && src.content[at.off] != '\n' {
						at.off++
					}
				}
			}
			return nil, fail(ErrYAMLParse, at, "", err.Error())
		}
		root := node{&doc, src}
		if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
			root = root.wrap(doc.Content[0])
		}
		docs = append(docs, root)
	}
}
