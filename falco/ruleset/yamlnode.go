package ruleset

import (
	"errors"
	"strconv"
	"strings"
	"sync"

	"spire-falco/falco/internal/yaml"
)

// node is a YAML node with the file that it is in. It is undefined when it
// holds none.
type node struct {
	*yaml.Node
	src *source
}

func (n node) defined() bool { return n.Node != nil }

func (n node) wrap(y *yaml.Node) node { return node{y, n.src} }

func (n node) isScalar() bool   { return n.Node != nil && n.Kind == yaml.Scalar }
func (n node) isNull() bool     { return n.Node != nil && n.Kind == yaml.Null }
func (n node) isMap() bool      { return n.Node != nil && n.Kind == yaml.Map }
func (n node) isSequence() bool { return n.Node != nil && n.Kind == yaml.Sequence }

// pair returns the key and the value under a key; of duplicate keys the first counts.
func (n node) pair(key string) (k, v node) {
	if n.isMap() {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if c := n.Content[i]; c.Kind == yaml.Scalar && c.Value == key {
				return n.wrap(c), n.wrap(n.Content[i+1])
			}
		}
	}
	return n.wrap(nil), n.wrap(nil)
}

// get returns the value under a key, an undefined node when there is none.
func (n node) get(key string) node {
	_, v := n.pair(key)
	return v
}

// keyPlace returns where a key is written, or the node itself when it has none.
func (n node) keyPlace(key string) place {
	if k, _ := n.pair(key); k.defined() {
		return k.place()
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
	return place{n.src, int(n.Offset)}
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
	v := strings.Trim(n.Value, " \t\n\r\v\f")
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
	runs := n.Runs()
	t := text{s: n.Value, at: make([]segment, len(runs))}
	for i, r := range runs {
		t.at[i] = segment{start: r.Start, fixed: r.Fixed, place: place{n.src, int(r.Offset)}}
	}
	return t
}

// parseYAML returns the documents of a file. The error is a *loadError.
func parseYAML(src *source) ([]node, error) {
	roots, err := yaml.Parse(src.content)
	if err != nil {
		at := place{src, 0}
		var ye *yaml.Error
		if errors.As(err, &ye) {
			at.off = min(ye.Offset, len(src.content))
		}
		return nil, fail(ErrYAMLParse, at, "", err.Error())
	}
	docs := make([]node, len(roots))
	for i, r := range roots {
		docs[i] = node{r, src}
		// Falco turns each document into JSON to compare it with its schema, which
		// fails at a key that is no text.
		if key := oddKey(r, len(src.content)); key != nil {
			return nil, badConversion(ErrYAMLParse, node{key, src}, "")
		}
	}
	return docs, nil
}

// oddKey returns the first key below a node that is a list or a map. Aliases put
// nodes into a tree more than once, without end even: after as many steps as
// there can be nodes it looks at each node once.
func oddKey(root *yaml.Node, nodes int) *yaml.Node {
	var seen map[*yaml.Node]bool
	steps := 0
	var find func(n *yaml.Node) *yaml.Node
	find = func(n *yaml.Node) *yaml.Node {
		if steps++; steps > nodes {
			if seen == nil {
				seen = map[*yaml.Node]bool{}
			}
			if seen[n] {
				return nil
			}
			seen[n] = true
		}
		for i, c := range n.Content {
			isKey := n.Kind == yaml.Map && i%2 == 0
			if isKey && (c.Kind == yaml.Map || c.Kind == yaml.Sequence) {
				return c
			}
			if isKey || len(c.Content) == 0 {
				continue
			}
			if key := find(c); key != nil {
				return key
			}
		}
		return nil
	}
	return find(root)
}

// parseAll returns what parses each file when it is asked for, and begins with
// the last ones meanwhile, while those before them are loaded.
func parseAll(files []File) []func() ([]node, error) {
	parse := make([]func() ([]node, error), len(files))
	for i, f := range files {
		parse[i] = sync.OnceValues(func() ([]node, error) { return parseYAML(newSource(f)) })
	}
	go func() {
		for i := len(files) - 1; i > 0; i-- {
			_, _ = parse[i]() // whoever asks for it gets the error
		}
	}()
	return parse
}
