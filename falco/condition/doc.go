// Package condition implements the condition language of Falco, each version's
// own: it parses conditions, checks them against the fields and events that the
// version has, tells which events a condition needs, and evaluates conditions
// over recorded events.
//
// For returns the Language of a version. Its catalogues are data that the
// libraries of that Falco printed, in data/VERSION: fields.tsv, events.tsv,
// syscalls.txt and language.tsv (operators, list modifiers, transformers). What
// versions do otherwise is in features.
//
// It is written after the grammar and the semantics of falcosecurity/libs, and
// keeps to them where they surprise: a comparison with a missing field is false
// whatever the operator, "fd.net in (...)" looks at the first network only, a
// regular expression must match the whole value. Package conformance holds it
// to verdicts that real Falcos gave.
package condition
