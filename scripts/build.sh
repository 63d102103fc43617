#!/usr/bin/env bash
# Builds brume: scripts/build.sh [--asan] [--debug] [--tests]
#
# Installs Debian's packages that are missing and yields build/brume, one static stripped binary.
#   --asan    build-asan/ with AddressSanitizer and UBSan, tests included, instead
#   --debug   build-debug/ without optimisation, instead
#   --tests   the unit tests too
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
directory=$root/build targets=(src/cmd/brume) setup=(--buildtype=release)
packages=$(build_packages)
for argument in "$@"; do
  case $argument in
  --asan)
    directory=$root/build-asan targets=(all)
    setup=(--buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false)
    packages+=" libclang-rt-19-dev"
    ;;
  --debug) directory=$root/build-debug setup=(--buildtype=debug) ;;
  --tests) targets=(all) ;;
  *) die "unknown argument $argument; see --help" ;;
  esac
done
# shellcheck disable=SC2086
need_packages $packages
cd "$root"
if [ ! -f "$directory/build.ninja" ]; then
  CC=clang-19 CXX=clang++-19 CC_LD=lld CXX_LD=lld meson setup "$directory" "${setup[@]}" >&2
fi
ninja -C "$directory" "${targets[@]}" >&2
if [ "$directory" = "$root/build" ]; then
  [ build/src/cmd/brume -ef build/brume ] || ln -f build/src/cmd/brume build/brume
fi
say "built ${directory#"$root"/}"
