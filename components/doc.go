// Package components has the stack's Pulumi components: Cluster, SPIRE, Falco, Falcosidekick, Workload, and the Stack
// that combines them. Each validates its Args before it registers anything, is the parent of its children, and
// registers its outputs. Values, rules and settings are plain Go values; components only turn them into resources.
package components
