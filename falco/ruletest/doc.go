// Package ruletest runs tests of Falco rules: files with events and the alerts that each must give. docs/testing-rules.md
// has their format. It needs no Falco, and judges as the Falco version that the file or its caller names.
package ruletest
