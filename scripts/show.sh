#!/usr/bin/env bash
# Shows what brume promises under load and disorder: scripts/show.sh SHOW [OPTIONS]
#
#   zero-downtime   100,000 requests through a Service while its Deployment is rolled ten times and scaled, and the server is
#                   killed and started; then a StatefulSet. Ends with 1 when a request failed.
#                   --requests N (100000), --rate R a second (800), --rolls N (10)
#   chaos           random pod deletions, container kills, spec changes and SIGKILLs of the server over sixty workloads; ends
#                   with 1 when the world does not equal the specs afterwards.
#                   --seconds N (600), --seed N, --server-kills N (10), --vm: in a virtual machine, whose clock jumps too
#
# Needs root, build/brume and kubectl. Nodes run in network namespaces of their own, without a route out.
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
[ "$(id -u)" = 0 ] || die "run this as root: sudo scripts/show.sh"
need_packages python3 iproute2 nftables curl busybox-static
need_kubectl
case " $* " in *" --vm "*) need_packages qemu-system-x86 xz-utils ;; esac
[ -x "$root/build/brume" ] || "$root/scripts/build.sh"
exec python3 "$root/test/shows" "$@"
