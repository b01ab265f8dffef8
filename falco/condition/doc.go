// Package condition implements the condition language of Falco 0.40 (engine
// 0.46): it parses conditions, checks them against the field catalogue that
// this Falco lists, tells which events a condition needs, and evaluates
// conditions over recorded events.
//
// It is written after the grammar and the semantics of falcosecurity/libs
// 0.20.0, and keeps to them where they surprise: a comparison with a missing
// field is false whatever the operator, "fd.net in (...)" looks at the first
// network only, a regular expression must match the whole value. Tests hold
// it to verdicts that a real Falco gave.
package condition
