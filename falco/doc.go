// Package falco is the ground floor: what is true of any Falco of a version, each fact once. It knows nothing of this
// stack, of Pulumi or of Kubernetes. The condition language is in falco/condition, rule files are in falco/ruleset.
package falco
