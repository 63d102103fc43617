#!/usr/bin/env bash
# Fuzzes the parsers: scripts/fuzz.sh [TARGET] [SECONDS]
#
# Builds test/fuzz as libFuzzer programs with AddressSanitizer (build-fuzz/) and runs TARGET (yaml, http, plan...), or each of
# them, for SECONDS (5) over its seeds in test/fuzz/seeds and over what earlier runs found (build-fuzz/corpus). An input that
# fails stays in build-fuzz/ as <target>-crash-... .
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
cd "$root"
targets=() seconds=5
for argument in "$@"; do
  case $argument in
  *[!0-9]*) targets+=("$argument") ;;
  *) seconds=$argument ;;
  esac
done
if [ ${#targets[@]} -eq 0 ]; then
  for file in test/fuzz/*/*_fuzz.cc; do targets+=("$(basename "$file" _fuzz.cc)"); done
fi
for target in "${targets[@]}"; do
  compgen -G "test/fuzz/*/${target}_fuzz.cc" >/dev/null || die "no target $target; see test/fuzz"
done
# shellcheck disable=SC2046
need_packages $(build_packages) libclang-rt-19-dev
if [ ! -f build-fuzz/build.ninja ]; then
  CC=clang-19 CXX=clang++-19 CC_LD=lld CXX_LD=lld meson setup build-fuzz --buildtype=debug -Doptimization=1 \
    -Db_sanitize=address -Db_lundef=false -Dfuzz=true >&2
fi
ninja -C build-fuzz "${targets[@]/#/test/fuzz/fuzz_}" >&2

failed=0
for target in "${targets[@]}"; do
  corpus=build-fuzz/corpus/$target seeds=()
  mkdir -p "$corpus"
  [ ! -d "test/fuzz/seeds/$target" ] || seeds=("test/fuzz/seeds/$target")
  if "build-fuzz/test/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
    -artifact_prefix="build-fuzz/$target-" "$corpus" "${seeds[@]}" 2>"build-fuzz/$target.log"; then
    echo "ok $target: $(sed -n 's/^Done \(.*\)/\1/p' "build-fuzz/$target.log")"
  else
    failed=$((failed + 1))
    echo "FAILED $target: build-fuzz/$target.log"
    grep -m 1 -E '^==.*(ERROR|SUMMARY)|libFuzzer: ' "build-fuzz/$target.log" || true
  fi
done
[ "$failed" = 0 ]
