// Package components holds the stack's Pulumi components: Cluster, SPIRE, Falco, Falcosidekick, Workload, and the Stack
// that joins them. Each validates its Args before it registers anything, parents its children to itself and registers
// its outputs. Values, rules and settings arrive as plain Go values; components only turn them into resources.
package components
