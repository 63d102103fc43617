# What the virtual machine of test_limits.py does: starts brume, gives it the pods of pods.json, and prints one line a check,
# "ok NAME" or "FAILED NAME: why", then "done", then powers off.

end() {
  [ "$1" = 0 ] || { echo "-- the server's log:"; tail -n 40 /root/server.log; dmesg | tail -n 20; }
  echo done
  sync
  poweroff -f
}

failures=0
same() { # NAME WANTED GOT
  if [ "$2" = "$3" ]; then echo "ok $1"; else echo "FAILED $1: wanted <$2>, got <$3>"; failures=$((failures + 1)); fi
}

# Tries a command again until it prints what is wanted, or the patience is over; then says how that went.
becomes() { # NAME WANTED SECONDS COMMAND...
  name=$1 wanted=$2 left=$3
  shift 3
  while got=$("$@" 2>&1); [ "$got" != "$wanted" ] && [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
  same "$name" "$wanted" "$got"
  [ "$got" = "$wanted" ]
}

field() { kubectl get "$1" -o "jsonpath=$2"; }                       # OBJECT JSONPATH
file() { cat "$1/$2" 2>&1 | tr '\n' ' ' | sed 's/ $//'; }             # CGROUP FILE
pod_cgroup() { find /sys/fs/cgroup/brume -type d -name "pod$(field "pod/$1" '{.metadata.uid}')"; }
container_cgroup() { find "$1" -mindepth 1 -maxdepth 1 -type d ! -name shim | head -n 1; }
counter() { sed -n "s/^$3 //p" "$1/$2"; }                             # CGROUP FILE KEY

brume check >/root/check; status=$?
sed 's|^|-- |' /root/check
same check 0 $status

brume server --disable dns --pod-max-pids 200 --stop-pods --write-kubeconfig "$KUBECONFIG" >/root/server.log 2>&1 &
server=$!
ready='{.items[0].status.conditions[?(@.type=="Ready")].status}'
becomes node.ready True 60 field nodes "$ready" || end 1
brume image import /test/image.tar && brume image import /test/many.tar || end 1
kubectl apply -f /test/pods.json || end 1
becomes pods.ready 'True True True True True ' 25 field pods \
  '{range .items[?(@.metadata.labels.runs=="on")]}{.status.conditions[?(@.type=="Ready")].status} {end}' || {
  kubectl get pods -o wide
  kubectl get events -o 'jsonpath={range .items[*]}{.involvedObject.name}: {.reason}: {.message}{"\n"}{end}' | sort -u | head -n 40
  end 1
}

# What the kernel was told. Values are those of Kubernetes (KEP-2254 for the weight).
pod=$(pod_cgroup guaranteed) main=$(container_cgroup "$(pod_cgroup guaranteed)")
same guaranteed.parent kubepods "$(basename "$(dirname "$pod")")"
same guaranteed.qos Guaranteed "$(field pod/guaranteed '{.status.qosClass}')"
same guaranteed.memory.max 67108864 "$(file "$main" memory.max)"
same guaranteed.memory.swap.max 0 "$(file "$main" memory.swap.max)"
same guaranteed.cpu.max '50000 100000' "$(file "$main" cpu.max)"
same guaranteed.cpu.weight 20 "$(file "$main" cpu.weight)"
same guaranteed.pod.memory.max 67108864 "$(file "$pod" memory.max)"
same guaranteed.pod.cpu.max '50000 100000' "$(file "$pod" cpu.max)"
same guaranteed.pod.cpu.weight 20 "$(file "$pod" cpu.weight)"
same guaranteed.pod.pids.max 200 "$(file "$pod" pids.max)"
same guaranteed.pids.max max "$(file "$main" pids.max)"
same guaranteed.pids.current 1 "$(file "$main" pids.current)"

# Other amounts for a container that goes on running: as much as it asks for, in its cgroup and the pod's.
kubectl get pod guaranteed -o json | sed 's/"64Mi"/"96Mi"/; s/"500m"/"250m"/' |
  kubectl replace --raw /api/v1/namespaces/default/pods/guaranteed/resize -f - >/dev/null
becomes resized.status '96Mi 250m' 20 field pod/guaranteed \
  '{.status.containerStatuses[0].resources.limits.memory} {.status.containerStatuses[0].resources.limits.cpu}'
same resized.memory.max 100663296 "$(file "$main" memory.max)"
same resized.cpu.max '25000 100000' "$(file "$main" cpu.max)"
same resized.cpu.weight 10 "$(file "$main" cpu.weight)"
becomes resized.pod.memory.max 100663296 5 file "$(pod_cgroup guaranteed)" memory.max
becomes resized.pod.cpu.max '25000 100000' 5 file "$(pod_cgroup guaranteed)" cpu.max

# A pod without limits: its class shows in its place and its weight.
unlimited() { # NAME QOS-CLASS CPU-WEIGHT
  pod=$(pod_cgroup "$1") main=$(container_cgroup "$(pod_cgroup "$1")")
  same "$1.parent" "$1" "$(basename "$(dirname "$pod")")"
  same "$1.qos" "$2" "$(field "pod/$1" '{.status.qosClass}')"
  same "$1.memory.max" max "$(file "$main" memory.max)"
  same "$1.cpu.max" 'max 100000' "$(file "$main" cpu.max)"
  same "$1.cpu.weight" "$3" "$(file "$main" cpu.weight)"
}
unlimited burstable Burstable 10
unlimited besteffort BestEffort 1

# What the kernel does about it.
main=$(container_cgroup "$(pod_cgroup busy)")
before=$(counter "$main" cpu.stat usage_usec) throttled=$(counter "$main" cpu.stat nr_throttled)
sleep 4
used=$(($(counter "$main" cpu.stat usage_usec) - before))
echo "-- a busy loop with a limit of 100m used $used us of 4 s"
same busy.throttled yes "$([ "$(counter "$main" cpu.stat nr_throttled)" -gt "$throttled" ] && echo yes)"
same busy.usage yes "$([ "$used" -gt 100000 ] && [ "$used" -lt 800000 ] && echo yes || echo "$used us")"

ended='{.status.phase} {.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}'
becomes oom 'Failed OOMKilled 137' 40 field pod/oom "$ended"
becomes oom.child 'Failed OOMKilled 137' 20 field pod/oom-child "$ended"
becomes oom.restarted 'OOMKilled 137' 40 field pod/oom-restarted \
  '{.status.containerStatuses[0].lastState.terminated.reason} {.status.containerStatuses[0].lastState.terminated.exitCode}'
same below.limit 'Succeeded Completed 0' "$(field pod/below "$ended")"
same neighbour 'Running 0' "$(field pod/guaranteed '{.status.phase} {.status.containerStatuses[0].restartCount}')"

# More layers than this kernel's overlayfs takes in the way that new ones have (Linux before 6.7).
same layers '127 126' "$(kubectl exec layers -- sh -c 'echo "$(cat /layer) $(ls /layers | wc -l)"' 2>&1)"

# Device rules are a BPF program on the container's cgroup.
same device.null 'ok' "$(kubectl exec guaranteed -- sh -c 'echo x >/dev/null && echo ok' 2>&1)"
same device.kmsg 'refused' "$(kubectl exec guaranteed -- sh -c 'mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg >/dev/null 2>/tmp/why; grep -q "not permitted" /tmp/why && echo refused || cat /tmp/why' 2>&1)"

# A command that is over before a slow kubectl is ready for it: kubectl before 1.34 drops what comes before it reads ("Unknown stream
# id 1"), so the server waits for its pong.
for run in 1 2 3 4 5; do
  got=$(kubectl exec guaranteed -- sh -c 'echo hi; exit 3' 2>/root/why)
  same "exec.short.$run" 'hi 3' "$got $?"
done

kill -TERM "$server"
wait "$server"
same server.stop 0 $?
brume cleanup
same cleanup 0 $?
same cleanup.cgroups '' "$(find /sys/fs/cgroup -type d -name 'pod*')"
end "$failures"
