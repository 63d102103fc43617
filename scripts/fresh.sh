#!/usr/bin/env bash
# Does the README's two commands in a bare Debian, so that a forgotten package shows: scripts/fresh.sh bookworm|trixie [--run-only]
#
# Bootstraps the suite into a directory (kept as a template in /var/tmp/brume-fresh), copies the committed tree into it, and runs
# scripts/run.sh --isolated and scripts/test.sh there, in a mount namespace of its own. Takes as long as a clean build and
# the tests take.
#   --run-only   only the first command
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
[ "$(id -u)" = 0 ] || die "run this as root: sudo scripts/fresh.sh"
suite=${1:-} run_only=${2:-}
case $suite in bookworm | trixie) ;; *) die "name a suite: bookworm or trixie; see --help" ;; esac
need_packages debootstrap
base=/var/tmp/brume-fresh template=$base/$suite.template machine=$base/$suite.machine

# The Debian mirror that this machine's own apt uses; other archives may stand beside it.
mirror() { # Prints it.
  apt-cache policy | awk '/ Packages$/ {mirror = $2} /[ ,]o=Debian,.*l=Debian,/ {print mirror; exit}'
}

if [ ! -f "$template/.done" ]; then
  rm -rf "$template"
  mkdir -p "$base"
  debootstrap --variant=minbase "$suite" "$template" "$(mirror)" >&2
  touch "$template/.done"
fi
rm -rf "$machine"
cp -a "$template" "$machine"
mkdir -p "$machine/src"
git -C "$root" archive HEAD | tar -x -C "$machine/src"
cp -a /etc/apt/apt.conf.d/. "$machine/etc/apt/apt.conf.d/"
cp -L /etc/resolv.conf "$machine/etc/resolv.conf"
cp -L /etc/hosts "$machine/etc/hosts"

status=0
unshare --mount --pid --fork --propagation private bash -euc '
  machine=$1
  mount --bind "$machine" "$machine"
  mount --rbind /dev "$machine/dev"
  mount -t proc proc "$machine/proc"
  mount --rbind /sys "$machine/sys"
  mount -t tmpfs tmpfs "$machine/run"
  cd "$machine"
  mkdir .outside
  pivot_root . .outside
  cd /
  umount -l /.outside
  fresh() { # COMMAND, with an environment that says nothing of this machine
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive bash -euc "cd /src && $1"
  }
  fresh "scripts/run.sh --isolated && scripts/run.sh stop"
  [ -n "$2" ] || fresh scripts/test.sh
' _ "$machine" "$run_only" || status=$?
rm -rf "$machine"
[ $status = 0 ] && say "fresh $suite: well" || die "fresh $suite: failed"
