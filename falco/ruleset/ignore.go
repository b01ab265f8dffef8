package ruleset

import (
	"slices"
	"strings"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
)

// ignoreMark begins a comment that ignores findings: # falcorules:ignore CODE[,CODE...] reason.
const ignoreMark = "falcorules:ignore"

// ignore is one such comment.
type ignore struct {
	at     condition.Location
	codes  []FindingCode
	reason string
	// item is what the comment stands above, from its first line to its last; it has no name when there is none.
	item itemLines
}

// itemLines is where an item of a rule file is.
type itemLines struct {
	kind, name  string
	first, last int
}

// ignoresOf reads the comments of a file. docs are its documents.
func ignoresOf(docs []node) []ignore {
	if len(docs) == 0 || !strings.Contains(docs[0].src.content, ignoreMark) {
		return nil
	}
	src := docs[0].src
	items := itemsOf(docs)
	lines := strings.Split(src.content, "\n")
	var all []ignore
	for _, c := range yaml.Comments(src.content) {
		text, ok := strings.CutPrefix(strings.TrimLeft(c.Text, "# \t"), ignoreMark)
		if !ok {
			continue
		}
		ig := ignore{at: src.location(c.Offset)}
		codes, reason, _ := strings.Cut(strings.TrimSpace(text), " ")
		for code := range strings.SplitSeq(codes, ",") {
			if code != "" {
				ig.codes = append(ig.codes, FindingCode(code))
			}
		}
		ig.reason = strings.TrimSpace(reason)
		ownLine := strings.TrimSpace(lines[ig.at.Line-1][:ig.at.Column-1]) == ""
		i := slices.IndexFunc(items, func(it itemLines) bool { return it.first > ig.at.Line })
		if ownLine && i >= 0 && onlyComments(lines[ig.at.Line:items[i].first-1]) {
			ig.item = items[i]
		}
		all = append(all, ig)
	}
	return all
}

func onlyComments(lines []string) bool {
	return !slices.ContainsFunc(lines, func(line string) bool {
		line = strings.TrimSpace(line)
		return line != "" && line[0] != '#'
	})
}

// itemsOf returns the items of a file in their order.
func itemsOf(docs []node) []itemLines {
	var all []itemLines
	for _, doc := range docs {
		for _, it := range doc.items() {
			lines := itemLines{first: it.place().location().Line}
			for _, kind := range []string{"rule", "macro", "list"} {
				if name := it.get(kind); name.isScalar() {
					lines.kind, lines.name = kind, name.Value
					break
				}
			}
			if n := len(all); n > 0 {
				all[n-1].last = lines.first - 1
			}
			all = append(all, lines)
		}
	}
	if n := len(all); n > 0 {
		all[n-1].last = len(docs[0].src.lines())
	}
	return all
}

// covers reports whether a finding is in the item that the comment stands above: it is of that item, or written in it.
func (ig *ignore) covers(f *Finding) bool {
	if ig.item.name == "" || !slices.Contains(ig.codes, f.Code) {
		return false
	}
	kind := f.Kind
	if kind == "" {
		kind = "rule"
	}
	return kind == ig.item.kind && f.Rule == ig.item.name || f.File == ig.at.File && ig.item.first <= f.Line && f.Line <= ig.item.last
}

// applyIgnores leaves out what comments ignore, and adds what is wrong with the comments.
func (rs *Ruleset) applyIgnores(findings []Finding, opts LintOptions) []Finding {
	if len(rs.ignores) == 0 {
		return findings
	}
	used := make([]map[FindingCode]bool, len(rs.ignores))
	findings = slices.DeleteFunc(findings, func(f Finding) bool {
		ignored := false
		for i := range rs.ignores {
			if ig := &rs.ignores[i]; ig.reason != "" && ig.covers(&f) {
				if used[i] == nil {
					used[i] = map[FindingCode]bool{}
				}
				used[i][f.Code], ignored = true, true
			}
		}
		return ignored
	})
	for i := range rs.ignores {
		ig := &rs.ignores[i]
		report := func(code FindingCode, message, hint string) {
			if slices.Contains(opts.Disable, code) {
				return
			}
			f := Finding{
				Code: code, Rule: ig.item.name, Kind: ig.item.kind, Message: message, Hint: hint,
				File: ig.at.File, Line: ig.at.Line, Column: ig.at.Column,
			}
			switch {
			case f.Rule == "":
				f.Kind, f.Rule = "file", ig.at.File
			case f.Kind == "rule":
				f.Kind = ""
			}
			findings = append(findings, f)
		}
		switch {
		case len(ig.codes) == 0:
			report(LintIgnoreComment, "the comment ignores nothing: it names no code", "write # "+ignoreMark+" CODE reason")
			continue
		case ig.reason == "":
			report(LintIgnoreComment, "the comment gives no reason, so it ignores nothing", "say behind the code why the finding is wrong here")
			continue
		case ig.item.name == "":
			report(LintIgnoreComment, "the comment stands above no rule, macro or list, so it ignores nothing", "put it on a line of its own, right above the item")
			continue
		}
		for _, code := range ig.codes {
			switch {
			case !slices.Contains(LintCodes(), code):
				hint := ""
				if near := condition.Nearest(string(code), asTexts(LintCodes())); near != "" {
					hint = "did you mean " + near + "?"
				}
				report(LintIgnoreComment, "the comment names "+quote(string(code))+", which is the code of no finding", hint)
			case !used[i][code] && !slices.Contains(opts.Disable, code):
				report(LintUnusedIgnore, "the comment ignores "+string(code)+", and there is no such finding here", "remove it")
			}
		}
	}
	return findings
}

func asTexts(codes []FindingCode) []string {
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = string(c)
	}
	return out
}
