# Shared by the scripts: sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Prints the script's own leading comment (after the #! line) and ends, when the first argument asks for it.
help_if_asked() {
  case "${2:-}" in -h | --help) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; exit 0 ;; esac
}

# Debian's suite: bookworm, trixie.
suite() { (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}"); }

# Boost of the suite: 1.81 on bookworm (its default, 1.74, lacks what brume uses), the default elsewhere.
boost_package() { [ "$(suite)" = bookworm ] && echo libboost1.81-dev || echo libboost-dev; }

build_packages() {
  echo clang-19 lld-19 meson ninja-build pkg-config python3 "$(boost_package)" nlohmann-json3-dev libsqlite3-dev \
    libyaml-cpp-dev libseccomp-dev libssl-dev libnghttp2-dev zlib1g-dev libzstd-dev libarchive-dev \
    libgoogle-perftools-dev catch2
}

# Installs those of the named packages that are missing; says so when it may not.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "missing packages: ${missing[*]}; install them or run this as root"
  say "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >&2 || die "apt-get update failed"
  apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 || die "apt-get install failed"
}

# kubectl from the PATH, else Debian's.
need_kubectl() { command -v kubectl >/dev/null || need_packages kubernetes-client; }
