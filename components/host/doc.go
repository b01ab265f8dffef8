// Package host runs Falco on plain Debian and Ubuntu machines, without Kubernetes: the pinned package from Falco's own
// repository, the same rendered rule files as the cluster's ConfigMap, one configuration file, and the modern eBPF
// service. Each machine is reached over SSH with a pinned host key, or is the one that the program runs on.
//
// Per machine there are four commands, each a step of the shell files in scripts/: check (what the machine must be;
// changes nothing), base (a picture of what was there; its delete is the whole removal), package, and falco (rules,
// configuration and service: staged, validated, switched, and given back when Falco does not serve with them). A step
// travels as one script on standard input, so no setting stands on a command line and nothing is left behind by a
// connection that breaks.
package host
