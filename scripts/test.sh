#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [check|unit|e2e|vm|asan|asan-e2e]... [NAME]
#
# Without arguments: check, unit, e2e and vm, which is what CI runs. Needs root: tests make network namespaces and pods.
#   check      the include table, and that the binary is static, stripped and small, and that no file compiles too long
#   unit NAME  the unit, contract, fault and fuzz-seed tests; NAME is a module (api, store, ...)
#   e2e NAME   the whole binary under real clients, each server in a network namespace without a route out; NAME is a
#              module, class or test as unittest takes it (test_pods, test_pods.Probes)
#   vm         limits of memory, cpu and devices in an emulated machine that enforces them (amd64 only; downloads Debian's cloud
#              kernel into /var/cache/brume-vm once; about a minute)
#   asan NAME  the unit tests under AddressSanitizer and UBSan (builds build-asan/ first)
#   asan-e2e NAME  the end-to-end tests with a server under both, without cluster DNS
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
[ "$(id -u)" = 0 ] || die "run this as root: sudo scripts/test.sh"
cd "$root"

stages=() name=
for argument in "$@"; do
  case $argument in
  check | unit | e2e | vm | asan | asan-e2e) stages+=("$argument") ;;
  -*) die "unknown argument $argument; see --help" ;;
  *)
    [ -z "$name" ] || die "one NAME at a time: $name or $argument"
    name=$argument
    ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(check unit e2e vm)

passed=0 failed=0 failures=()
count() { # PASSED FAILED
  passed=$((passed + $1)) failed=$((failed + $2))
}

# The summary's last lines say what failed, so that the end of a log is enough to know.
remember() { # LINE...
  failures+=("$@")
}

# One check: a command that says by its exit status.
check() {
  local output
  if output=$("$@" 2>&1); then count 1 0; else
    count 0 1
    remember "FAILED: $*" "$output"
  fi
  echo "$output"
}

# Meson's own summary of a run of its tests.
run_meson_tests() { # BUILD_DIR
  local log=$1/meson-logs/testlog.txt selected=() lines
  [ -z "$name" ] || selected=("unit-$name")
  meson test -C "$1" --no-rebuild --num-processes 1 --print-errorlogs --timeout-multiplier 10 "${selected[@]}" || true
  count "$(sed -n 's/^Ok: *//p' "$log" | tail -1)" "$(awk '/^(Fail|Timeout|Unexpected Pass):/ {sum += $NF} END {print sum + 0}' "$log")"
  # Which executables failed, and what Catch, a sanitizer or an abort had to say.
  mapfile -t lines < <(grep -E "^ *[0-9]+/[0-9]+ .*(FAIL|TIMEOUT|ERROR)|: FAILED:|^  (CHECK|REQUIRE|FAIL)|due to|ERROR: |abort|terminat" "$log" | head -40 || true)
  grep -qE "^ *[0-9]+/[0-9]+ .*(FAIL|TIMEOUT|ERROR)" "$log" && remember "${lines[@]}"
  return 0
}

run_checks() {
  check python3 scripts/checks/includes.py
  check python3 scripts/checks/binary.py build
}

# unittest's own summary of a run of its tests: how many failed.
count_bad() { # LOG
  sed -n 's/^FAILED (\(.*\))$/\1/p' "$1" | tail -1 | tr ',' '\n' | awk -F= '/failures|errors/ {sum += $2} END {print sum + 0}'
}

run_e2e() {
  local log=$root/build/e2e.log total bad
  need_packages iproute2 nftables curl skopeo docker-registry busybox-static apache2-utils openssl
  need_kubectl
  mkdir -p "$root/build"
  if [ -n "$name" ]; then
    (cd test/e2e && python3 -m unittest -v "$name") 2>&1 | tee "$log" || true
  else
    python3 -m unittest discover -s test/e2e -v 2>&1 | tee "$log" || true
  fi
  total=$(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$log" | tail -1)
  bad=$(count_bad "$log")
  [ -n "$total" ] || { total=1 bad=1; }
  count $((total - bad)) "$bad"
  remember_unittests "$log"
}

# The names, and the last line of each traceback.
remember_unittests() { # LOG
  local lines
  mapfile -t lines < <(grep -E "^(FAIL|ERROR): |^[A-Za-z_.]*(Error|Exception|Failure)\b" "$1" | cut -c1-400 | head -40 || true)
  grep -qE "^(FAIL|ERROR): " "$1" && remember "${lines[@]}"
  return 0
}

# One machine makes many checks: those are counted, or one failure when it did not come that far.
run_vm() {
  local log=$root/build/vm.log checks bad
  [ "$(uname -m)" = x86_64 ] || { say "skipped: the kernel is for x86_64"; return 0; }
  need_packages qemu-system-x86 busybox-static xz-utils
  need_kubectl
  python3 -m unittest discover -s test/vm -v 2>&1 | tee "$log" || true
  checks=$(grep -o "[0-9]* checks in the virtual machine" "$log" | tail -1 | cut -d" " -f1 || true)
  bad=$(count_bad "$log")
  [ -n "$checks" ] || { checks=1 bad=1; }
  count $((checks > bad ? checks - bad : 0)) "$bad"
  remember_unittests "$log"
}

# A stage whose build fails has failed.
build() {
  "$root/scripts/build.sh" "$@" && return 0
  count 0 1
  remember "FAILED: scripts/build.sh $*"
  return 1
}

need_packages python3 iproute2 nftables conntrack busybox-static zstd tzdata
for stage in "${stages[@]}"; do
  say "== $stage"
  case $stage in
  check) build && run_checks ;;
  unit) build --tests && run_meson_tests build ;;
  e2e) build && run_e2e ;;
  vm) build && run_vm ;;
  asan) build --asan && run_meson_tests build-asan ;;
  asan-e2e) build --asan && BRUME=$root/build-asan/src/cmd/brume run_e2e ;;
  esac
done
[ ${#failures[@]} = 0 ] || printf '%s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
