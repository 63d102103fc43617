#!/usr/bin/env bash
# Checks the sources: scripts/lint.sh [FILE...]
#
# The include table and the other house rules (scripts/checks), then clang-tidy's chosen checks (.clang-tidy) over the
# named files, or over all sources. Builds first, since clang-tidy reads the generated sources and the precompiled header.
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
need_packages clang-tidy-19 python3
cd "$root"
python3 scripts/checks/includes.py
scripts/build.sh
ninja -C build test.pch >&2  # a source that a test compiles too is checked as part of both
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git ls-files 'src/*.cc')

# The shim is not in compile_commands.json: it is one command, without the library (src/runtime/meson.build).
ordinary=() shim=()
for file in "${files[@]}"; do
  case $file in
  src/runtime/shim/*) shim+=("$file") ;;
  *) ordinary+=("$file") ;;
  esac
done
status=0
[ ${#ordinary[@]} -eq 0 ] || printf '%s\0' "${ordinary[@]}" | xargs -0 -r -n 4 -P "$(nproc)" clang-tidy-19 -p build --quiet || status=1
if [ ${#shim[@]} -gt 0 ]; then
  clang-tidy-19 --quiet "${shim[@]}" -- -std=c++23 -ffreestanding -fno-exceptions -fno-rtti || status=1
fi
exit $status
