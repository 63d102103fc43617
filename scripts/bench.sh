#!/usr/bin/env bash
# Measures a Kubernetes API and its node: scripts/bench.sh [--kubeconfig FILE [--server-pid PID]... [--image NAME]] [--json]
#
# Prints one table: figure, brume's budget (docs/design), ok or over. Without --kubeconfig it starts build/brume in a network
# namespace of its own, which has no route out, with its files in a temporary directory, and removes both at the end.
#   --kubeconfig FILE   measure that cluster instead (one cluster and one user in the file; the user is an admin)
#   --server-pid PID    a process of that cluster's servers on this machine; may be given often; children count too. With
#                       it, memory and idle figures are measured, and the servers' CPU time for each operation
#   --image NAME        an image with a shell, present on the node, for the pods (needed with --kubeconfig)
#   --only NAME,...     only these: start,idle,binary,memory,pods,deployment,create,get,list,watch,
#                       workloads,scheduler
#   --nodes N, --scheduler-pods N   simulated nodes, and pods to place on them (1000, 10000)
#   --idle-seconds N    how long the idle server is watched (60)
#   --brume FILE        the binary to start (build/brume)
#   --json              JSON instead of the table
#   --keep              leave the temporary directory for a look
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
need_packages wrk python3
for argument in "$@"; do
  case $argument in --kubeconfig | --kubeconfig=*) exec python3 "$root/scripts/bench.py" "$@" ;; esac
done
[ "$(id -u)" = 0 ] || die "brume needs root: run this as root, or give --kubeconfig"
need_packages iproute2 busybox-static
namespace=brume-bench-$$
ip netns add "$namespace"
# No `ip netns exec`: its mounts would hide the cgroups.
trap 'ip netns delete "$namespace"' EXIT
ip -n "$namespace" link set lo up
nsenter --net="/run/netns/$namespace" python3 "$root/scripts/bench.py" "$@"
