// Package host runs Falco on plain Debian and Ubuntu machines, without Kubernetes: the pinned package from Falco's own
// repository, the same rendered rule files as the cluster's ConfigMap, one configuration file, and the modern eBPF
// service. Each machine is reached over SSH with a pinned host key, or is the one that the program runs on.
//
// There are four commands per machine, each a step of the shell files in scripts/: check (requirements; changes
// nothing), base (records the previous state; its delete is the whole removal), package, and falco (rules,
// configuration and service: staged, validated, switched, and restored if Falco does not serve with them). A step is
// one script on standard input, so no setting is on a command line and a broken connection leaves nothing behind.
package host
