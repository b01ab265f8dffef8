// Package ruleset loads Falco rule files as the rule loader of Falco 0.40
// does, with its error and warning codes, and makes of them an engine that
// evaluates recorded events. It also knows traps that Falco does not tell of
// (Lint) and what a rule comes down to once macros and lists are expanded.
//
// It needs no Falco, no kernel and no root. Tests hold it to verdicts that a
// real Falco gave.
package ruleset
