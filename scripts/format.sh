#!/usr/bin/env bash
# Formats the C++ sources in place: scripts/format.sh [--check]
#
#   --check   changes nothing; fails when a file is not formatted
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
need_packages clang-format-19
cd "$root"
mode=(-i)
[ "${1:-}" = --check ] && mode=(--dry-run --Werror)
git ls-files -z --cached --others --exclude-standard '*.cc' '*.h' | xargs -0 -r clang-format-19 "${mode[@]}"
