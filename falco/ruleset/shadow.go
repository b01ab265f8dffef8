package ruleset

import (
	"slices"
	"strings"

	"spire-falco/falco/condition"
)

// maxClauses bounds the work of comparing two rules.
const maxClauses = 64

// maxSteps bounds the work of comparing one rule with all rules before it.
const maxSteps = 200_000

// shadowed reports the first earlier rule that matches whenever l.rule does.
// It finds what follows from the shape of the conditions, not all that is so.
func (l *linter) shadowed(earlier []*compiledRule) {
	for _, other := range earlier {
		if !other.info.enabled || other.info.source != l.rule.info.source || !other.types.Contains(l.rule.types) {
			continue
		}
		if l.implies(l.rule.condition, other.condition, 0) {
			loc := other.info.at.location()
			l.report(LintShadowed, l.rule.info.at.location(),
				"never fires under rule_matching first: rule "+quote(other.info.name)+" ("+loc.File+") comes before and matches whatever this one matches",
				"load this rule first, narrow the other one, or set rule_matching to all")
			return
		}
	}
}

// implies tells whether a being true makes b true, as far as the shape of the
// two shows.
func (l *linter) implies(a, b condition.Expr, depth int) bool {
	if l.steps++; depth > 12 || l.steps > maxSteps {
		return false
	}
	if condition.Same(a, b) {
		return true
	}
	switch n := b.(type) {
	case *condition.And:
		return len(n.Children) <= maxClauses && every(n.Children, func(c condition.Expr) bool { return l.implies(a, c, depth+1) })
	case *condition.Or:
		if some(n.Children, func(c condition.Expr) bool { return l.implies(a, c, depth+1) }) {
			return true
		}
	}
	switch n := a.(type) {
	case *condition.And:
		return len(n.Children) <= maxClauses && some(n.Children, func(c condition.Expr) bool { return l.implies(c, b, depth+1) })
	case *condition.Or:
		return len(n.Children) <= maxClauses && every(n.Children, func(c condition.Expr) bool { return l.implies(c, b, depth+1) })
	case *condition.Not:
		if m, ok := b.(*condition.Not); ok {
			return l.implies(m.Child, n.Child, depth+1)
		}
	case *condition.Binary:
		if m, ok := b.(*condition.Binary); ok {
			return checkImplies(n, m)
		}
		if m, ok := b.(*condition.Unary); ok {
			return condition.Same(n.Left, m.Left)
		}
	}
	return false
}

func every(list []condition.Expr, test func(condition.Expr) bool) bool {
	return !slices.ContainsFunc(list, func(e condition.Expr) bool { return !test(e) })
}

func some(list []condition.Expr, test func(condition.Expr) bool) bool {
	return len(list) <= maxClauses && slices.ContainsFunc(list, test)
}

// checkImplies compares two checks of the same field.
func checkImplies(a, b *condition.Binary) bool {
	if !condition.Same(a.Left, b.Left) {
		return false
	}
	from, to := constants(a), constants(b)
	if len(from) == 0 || len(to) == 0 {
		return false
	}
	var holds func(value string) bool
	switch b.Op {
	case "=", "==", "in":
		holds = func(v string) bool { return slices.Contains(to, v) }
	case "contains":
		holds = func(v string) bool { return strings.Contains(v, to[0]) }
	case "startswith":
		holds = func(v string) bool { return strings.HasPrefix(v, to[0]) }
	case "endswith":
		holds = func(v string) bool { return strings.HasSuffix(v, to[0]) }
	default:
		return false
	}
	switch a.Op {
	case "=", "==", "in":
	case b.Op:
	case "startswith", "endswith":
		if b.Op != "contains" {
			return false
		}
	default:
		return false
	}
	return !slices.ContainsFunc(from, func(v string) bool { return !holds(v) })
}
