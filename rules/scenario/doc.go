// Package scenario holds what the rules must do: events of real attacks and of normal work, recorded by Falco on a real cluster, and the
// alerts that each must give. The scenarios are data (scenarios.yaml); whoever runs them brings the rules.
package scenario
