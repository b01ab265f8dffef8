// Package ruleset loads Falco rule files as the rule loader of a Falco version
// does, with its error and warning codes, and builds an engine from them that
// evaluates recorded events. It also knows traps that Falco does not report
// (Lint) and what a rule is once macros and lists are expanded.
//
// It needs no Falco, no kernel and no root. Package conformance holds it to
// verdicts that real Falcos of each version gave.
package ruleset
