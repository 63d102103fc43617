#!/usr/bin/env bash
# Checks the sources: scripts/lint.sh [FILE...]
#
# The include table and the other house rules (scripts/checks), then clang-tidy's chosen checks (.clang-tidy) over the
# named files, or over all sources. Needs a build directory (scripts/build.sh).
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
need_packages clang-tidy-19 python3
cd "$root"
python3 scripts/checks/includes.py
[ -f build/compile_commands.json ] || scripts/build.sh
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git ls-files 'src/*.cc')
printf '%s\0' "${files[@]}" | xargs -0 -n 4 -P "$(nproc)" clang-tidy-19 -p build --quiet
