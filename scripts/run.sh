#!/usr/bin/env bash
# Builds brume, starts it on this machine, and shows a workload answering: scripts/run.sh [start|stop] [--isolated]
#
#   start       (default) installs what is missing, builds, starts `brume server` in the background, imports the example
#               image, applies manifests/examples/hello.yaml and asks it for its page
#   stop        stops the server and its pods; nothing is left but images and state in /var/lib/brume
#   --isolated  everything in the network namespace "brume", which has no route out (for trying it out without touching
#               the machine's network); talk to it with: ip netns exec brume kubectl ...
#
# The server logs to /var/log/brume.log. Options for it go into /etc/brume/config.yaml.
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
action=start isolated=
for argument in "$@"; do
  case $argument in
  start | stop) action=$argument ;;
  --isolated) isolated=yes ;;
  *) die "unknown argument $argument; see --help" ;;
  esac
done
[ "$(id -u)" = 0 ] || die "run this as root: sudo scripts/run.sh"
pid_file=/run/brume.pid log=/var/log/brume.log brume=$root/build/brume
export KUBECONFIG=/etc/brume/brume.yaml

# A stop and a start agree by themselves on where the server is.
[ ! -e /run/netns/brume ] || isolated=yes
network=()
[ -z "$isolated" ] || network=(nsenter --net=/run/netns/brume)
in_network() { "${network[@]}" "$@"; }
running() { [ -f $pid_file ] && [ "$(readlink "/proc/$(cat $pid_file)/exe" 2>/dev/null)" != "" ]; }

make_network() {
  [ ! -e /run/netns/brume ] || return 0
  ip netns add brume
  ip -n brume link set lo up
}

wait_for() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    running || { tail -n 5 $log >&2; die "brume has ended; see $log"; }
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}

start() {
  "$root/scripts/build.sh"
  need_packages iproute2 curl busybox-static tzdata
  need_kubectl
  [ -z "$isolated" ] || make_network
  if running; then
    say "brume runs already (pid $(cat $pid_file))"
  else
    "${network[@]}" setsid "$brume" server </dev/null >>$log 2>&1 &
    echo $! >$pid_file
  fi
  wait_for 30 in_network kubectl get --raw /readyz || die "brume is not ready after 30 s; see $log"
  in_network "$root/scripts/hello-image.sh"
  in_network kubectl apply -f "$root/manifests/examples/hello.yaml"
  in_network kubectl rollout status deploy hello --timeout 60s
  say "asking the service:"
  local address
  address=$(in_network kubectl get service hello-web -o 'jsonpath={.spec.clusterIP}')
  in_network curl -sS --retry 5 --retry-connrefused --max-time 5 "http://$address/"
  say ""
  say "brume is up. Next: export KUBECONFIG=$KUBECONFIG; ${isolated:+ip netns exec brume }kubectl get pods -A -o wide"
}

stop() {
  if running; then
    local pid
    pid=$(cat $pid_file)
    kill -TERM "$pid"
    local deadline=$((SECONDS + 60)) # with stop-pods in its options it waits for the pods' grace
    while [ -e "/proc/$pid" ]; do
      [ $SECONDS -lt $deadline ] || die "brume (pid $pid) does not end; see $log"
      sleep 0.1
    done
  fi
  rm -f $pid_file
  [ ! -x "$brume" ] || in_network "$brume" cleanup
  [ ! -e /run/netns/brume ] || ip netns delete brume
  say "brume is stopped"
}

$action
