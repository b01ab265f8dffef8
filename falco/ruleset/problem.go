package ruleset

import (
	"fmt"
	"strings"
)

// Code is the code of a problem: one of Falco's, or one of ours where Falco
// stops without a code.
type Code string

// The error codes of Falco's rule loader.
const (
	ErrYAMLParse        Code = "LOAD_ERR_YAML_PARSE"
	ErrYAMLValidate     Code = "LOAD_ERR_YAML_VALIDATE"
	ErrCompileCondition Code = "LOAD_ERR_COMPILE_CONDITION"
	ErrCompileOutput    Code = "LOAD_ERR_COMPILE_OUTPUT"
	ErrValidate         Code = "LOAD_ERR_VALIDATE"
	// ErrPluginRequirement is ours: Falco ends with a message and no code when
	// a required plugin is not loaded.
	ErrPluginRequirement Code = "PLUGIN_REQUIREMENT"
)

// The warning codes of Falco's rule loader.
const (
	WarnUnknownSource    Code = "LOAD_UNKNOWN_SOURCE"
	WarnUnsafeNACheck    Code = "LOAD_UNSAFE_NA_CHECK"
	WarnNoEventType      Code = "LOAD_NO_EVTTYPE"
	WarnUnknownFilter    Code = "LOAD_UNKNOWN_FILTER"
	WarnUnusedMacro      Code = "LOAD_UNUSED_MACRO"
	WarnUnusedList       Code = "LOAD_UNUSED_LIST"
	WarnUnknownItem      Code = "LOAD_UNKNOWN_ITEM"
	WarnDeprecatedItem   Code = "LOAD_DEPRECATED_ITEM"
	WarnAppendNoValues   Code = "LOAD_APPEND_NO_VALUES"
	WarnExceptionName    Code = "LOAD_EXCEPTION_NAME_NOT_UNIQUE"
	WarnInvalidMacroName Code = "LOAD_INVALID_MACRO_NAME"
	WarnInvalidListName  Code = "LOAD_INVALID_LIST_NAME"
	WarnCompileCondition Code = "LOAD_COMPILE_CONDITION"
	WarnUnknownKey       Code = "LOAD_UNKNOWN_KEY" // since Falco 0.44
)

// Problem is an error or a warning. Line and Column count from 1 and are 0
// when the problem has no place; columns count bytes.
type Problem struct {
	Code Code `json:"code"`
	// Message is Falco's own.
	Message string `json:"message"`
	// Hint says how to mend it, where we know.
	Hint   string `json:"hint,omitempty"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Item names what the problem is in, for example rule "Shell in container".
	Item string `json:"item,omitempty"`
}

// String returns the problem on one line: file:line:column, code, item, message, hint.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(&b, ": %s: ", p.Code)
	if p.Item != "" {
		b.WriteString(p.Item + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return visible(b.String())
}

// Error makes a problem usable as an error.
func (p Problem) Error() string { return p.String() }

// FileReport is what Falco says while it loads one file after those before it.
type FileReport struct {
	Name     string
	Errors   []Problem
	Warnings []Problem
}

// Report is the result of loading rule files in order.
type Report struct {
	// Files holds one report per file. Falco compiles everything again with
	// each file, so a later file repeats what is wrong with earlier ones.
	Files []FileReport
	// Errors and Warnings hold the problems of all files, each once.
	Errors   []Problem
	Warnings []Problem
}

// OK tells whether Falco accepts the files.
func (r *Report) OK() bool { return len(r.Errors) == 0 }

// Err returns the first error of the report, or nil.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	return r.Errors[0]
}

func (r *Report) collect() {
	seen := map[Problem]bool{}
	once := func(into *[]Problem, list []Problem) {
		for _, p := range list {
			if !seen[p] {
				seen[p] = true
				*into = append(*into, p)
			}
		}
	}
	for _, f := range r.Files {
		once(&r.Errors, f.Errors)
		once(&r.Warnings, f.Warnings)
	}
}

// loadError carries a problem up to where the file's report is kept.
type loadError struct{ Problem }

func (e *loadError) Error() string { return e.String() }

func problemAt(code Code, at place, item, msg string) Problem {
	loc := at.location()
	return Problem{Code: code, Message: msg, File: loc.File, Line: loc.Line, Column: loc.Column, Item: item}
}

func fail(code Code, at place, item, msg string) error {
	return &loadError{problemAt(code, at, item, msg)}
}
