#!/bin/sh
# Runs on each node, in Falco's pod, before Falco starts: it says in one line what Falco's own log says in many.
set -eu
kernel=$(uname -r)
number() {
  major=${1%%.*}
  rest=${1#*.}
  minor=${rest%%[!0-9]*}
  echo $((major * 1000 + minor))
}
this=$(number "$kernel")
if [ "$this" -lt "$(number "$MIN_KERNEL")" ]; then
  echo "Linux $kernel is too old: the modern eBPF probe of Falco $FALCO_VERSION needs $MIN_KERNEL or newer" >&2
  exit 1
fi
if [ -n "$BELOW_KERNEL" ] && [ "$this" -ge "$(number "$BELOW_KERNEL")" ]; then
  echo "the modern eBPF probe of Falco $FALCO_VERSION (chart $CHART_VERSION) does not load on Linux $kernel; set falco.chartVersion to $NEXT_CHART_VERSION" >&2
  exit 1
fi
if [ ! -r /sys/kernel/btf/vmlinux ]; then
  echo "this kernel has no BTF (/sys/kernel/btf/vmlinux): the modern eBPF probe needs one built with CONFIG_DEBUG_INFO_BTF" >&2
  exit 1
fi
echo "Linux $kernel with BTF: Falco $FALCO_VERSION can start"
