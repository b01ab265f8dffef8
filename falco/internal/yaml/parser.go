package yaml

import "strconv"

// maxDepth bounds how deep nodes nest.
const maxDepth = 500

type parser struct {
	*scanner
	// nodes is room for nodes, which are made many at a time.
	nodes   []Node
	anchors map[string]*Node
	depth   int
	// inFlowSeq tells for each open collection whether it is a flow sequence.
	inFlowSeq []bool
	version   bool
	tags      map[string]bool
}

// document reads the next document, nil when there is none.
func (p *parser) document() *Node {
	p.directives()
	t := p.peek()
	if t == nil {
		return nil
	}
	p.anchors = map[string]*Node{}
	p.inFlowSeq = p.inFlowSeq[:0]
	if t.typ == tDocStart {
		p.pop()
	}
	doc := p.node()
	for t := p.peek(); t != nil && t.typ == tDocEnd; t = p.peek() {
		p.pop()
	}
	return doc
}

func (p *parser) directives() {
	first := true
	for t := p.peek(); t != nil && t.typ == tDirective; t = p.peek() {
		if first {
			p.version, p.tags = false, map[string]bool{}
			first = false
		}
		switch t.value {
		case "YAML":
			p.yamlDirective(t)
		case "TAG":
			if len(p.params) != 2 {
				fail(t.mark, "TAG directives must have exactly two arguments")
			}
			if p.tags[p.params[0]] {
				fail(t.mark, "repeated TAG directive")
			}
			p.tags[p.params[0]] = true
		}
		p.pop()
	}
}

func (p *parser) yamlDirective(t *token) {
	if len(p.params) != 1 {
		fail(t.mark, "YAML directives must have exactly one argument")
	}
	if p.version {
		fail(t.mark, "repeated YAML directive")
	}
	v := p.params[0]
	n := 0
	for n < len(v) && v[n] >= '0' && v[n] <= '9' {
		n++
	}
	major, err := strconv.Atoi(v[:n])
	if err == nil && n < len(v) {
		_, err = strconv.Atoi(v[n+1:])
	} else if err == nil {
		err = strconv.ErrSyntax
	}
	if err != nil {
		fail(t.mark, "bad YAML version: "+v)
	}
	if major > 1 {
		fail(t.mark, "YAML major version too large")
	}
	p.version = true
}

func (p *parser) newNode(offset int) *Node {
	if len(p.nodes) == 0 {
		p.nodes = make([]Node, 64)
	}
	n := &p.nodes[0]
	p.nodes = p.nodes[1:]
	n.Offset = int32(offset)
	return n
}

func isNull(s string) bool {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

func (p *parser) node() *Node {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth >= maxDepth {
		fail(p.mark, "bad file")
	}
	t := p.peek()
	if t == nil {
		return p.newNode(p.pos)
	}
	n := p.newNode(t.mark.pos)
	switch t.typ {
	case tValue:
		p.compactMap(n, false)
		return n
	case tAlias:
		target, ok := p.anchors[t.value]
		if !ok {
			fail(t.mark, "the referenced anchor is not defined: "+t.value)
		}
		p.pop()
		return target
	}
	tagged := p.properties(n)
	t = p.peek()
	if t == nil {
		return n
	}
	switch t.typ {
	case tPlain, tNonPlain:
		if t.typ == tPlain && !tagged && isNull(t.value) {
			p.pop()
			return n
		}
		n.Kind, n.Value = Scalar, t.value
		if t.runs != nil {
			runs := t.runs
			n.runs = &runs
		} else if int(n.Offset) != t.mark.pos {
			n.runs = &[]Run{{Offset: int32(t.mark.pos)}} // a tag or an anchor is before it
		}
		p.pop()
		return n
	case tFlowSeqStart:
		p.flowSequence(n)
		return n
	case tBlockSeqStart:
		p.blockSequence(n)
		return n
	case tFlowMapStart:
		p.flowMap(n)
		return n
	case tBlockMapStart:
		p.blockMap(n)
		return n
	case tKey:
		if k := len(p.inFlowSeq); k > 0 && p.inFlowSeq[k-1] {
			p.compactMap(n, true)
			return n
		}
	}
	if tagged {
		n.Kind = Scalar
	}
	return n
}

// properties reads the tag and the anchor of a node.
func (p *parser) properties(n *Node) (tagged bool) {
	anchored := false
	for {
		t := p.peek()
		switch {
		case t != nil && t.typ == tTag:
			if tagged {
				fail(t.mark, "cannot assign multiple tags to the same node")
			}
			tagged = true
		case t != nil && t.typ == tAnchor:
			if anchored {
				fail(t.mark, "cannot assign multiple anchors to the same node")
			}
			anchored = true
			p.anchors[t.value] = n
		default:
			return tagged
		}
		p.pop()
	}
}

func (p *parser) open(flowSeq bool) { p.inFlowSeq = append(p.inFlowSeq, flowSeq) }
func (p *parser) close()            { p.inFlowSeq = p.inFlowSeq[:len(p.inFlowSeq)-1] }

// need returns the next token and fails at the end of the file.
func (p *parser) need(msg string) *token {
	t := p.peek()
	if t == nil {
		fail(p.mark, msg)
	}
	return t
}

func (p *parser) blockSequence(n *Node) {
	const msg = "end of sequence not found"
	n.Kind = Sequence
	p.pop()
	p.open(false)
	defer p.close()
	for {
		t := p.need(msg)
		if t.typ != tBlockEntry && t.typ != tBlockSeqEnd {
			fail(t.mark, msg)
		}
		p.pop()
		if t.typ == tBlockSeqEnd {
			return
		}
		if next := p.peek(); next != nil && (next.typ == tBlockEntry || next.typ == tBlockSeqEnd) {
			n.Content = append(n.Content, p.newNode(next.mark.pos))
			continue
		}
		n.Content = append(n.Content, p.node())
	}
}

func (p *parser) flowSequence(n *Node) {
	const msg = "end of sequence flow not found"
	n.Kind = Sequence
	p.pop()
	p.open(true)
	defer p.close()
	for {
		if p.need(msg).typ == tFlowSeqEnd {
			p.pop()
			return
		}
		n.Content = append(n.Content, p.node())
		t := p.need(msg)
		if t.typ == tFlowEntry {
			p.pop()
		} else if t.typ != tFlowSeqEnd {
			fail(t.mark, msg)
		}
	}
}

// pair reads a key and a value, either of which may be missing.
func (p *parser) pair(n *Node, t *token) {
	at := t.mark.pos
	var key, value *Node
	if t.typ == tKey {
		p.pop()
		key = p.node()
	} else {
		key = p.newNode(at)
	}
	if v := p.peek(); v != nil && v.typ == tValue {
		p.pop()
		value = p.node()
	} else {
		value = p.newNode(at)
	}
	n.Content = append(n.Content, key, value)
}

func (p *parser) blockMap(n *Node) {
	const msg = "end of map not found"
	n.Kind = Map
	p.pop()
	p.open(false)
	defer p.close()
	for {
		t := p.need(msg)
		switch t.typ {
		case tBlockMapEnd:
			p.pop()
			return
		case tKey, tValue:
			p.pair(n, t)
		default:
			fail(t.mark, msg)
		}
	}
}

func (p *parser) flowMap(n *Node) {
	const msg = "end of map flow not found"
	n.Kind = Map
	p.pop()
	p.open(false)
	defer p.close()
	for {
		t := p.need(msg)
		if t.typ == tFlowMapEnd {
			p.pop()
			return
		}
		p.pair(n, t)
		t = p.need(msg)
		if t.typ == tFlowEntry {
			p.pop()
		} else if t.typ != tFlowMapEnd {
			fail(t.mark, msg)
		}
	}
}

// compactMap reads a single pair without braces in a flow sequence, or a value
// without a key.
func (p *parser) compactMap(n *Node, withKey bool) {
	n.Kind = Map
	p.open(false)
	defer p.close()
	t := p.peek()
	if withKey {
		p.pair(n, t)
		return
	}
	key := p.newNode(t.mark.pos)
	p.pop()
	n.Content = append(n.Content, key, p.node())
}
