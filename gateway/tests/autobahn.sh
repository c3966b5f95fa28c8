#!/usr/bin/env bash
# The framing against the Autobahn TestSuite: autobahn.sh
#
# Starts target/release/gateway with its echo switched on and runs sections 1 to 7, 9 and 10 against it. Exit code 0 only if 298
# cases are OK and 3 informational, so that none is non-strict, failed or left out, and every connection was closed as it must be.
# What it needs is installed in target/test-env/autobahn; a case that cannot run fails. GATEWAY_BIN names another binary.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
env=$target/test-env/autobahn
binary=${GATEWAY_BIN:-$target/release/gateway}
pins=$here/autobahn/requirements.txt

# The gateway takes GATEWAY_* as its settings and would refuse this one.
unset GATEWAY_BIN
# The registry may lie behind a proxy; the gateway doesn't.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"
export no_proxy=$NO_PROXY
export PYTHONDONTWRITEBYTECODE=1

fail() {
  echo "autobahn: $*" >&2
  exit 1
}

apt_install() {
  echo "autobahn: installing $*" >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$env/apt.log" 2>&1 ||
    fail "apt-get install $* failed, see $env/apt.log"
}

# The stamp is a copy of the pins, written when all of them are there.
install() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  cmp -s "$pins" "$env/venv/requirements.txt" && "$env/venv/bin/python" -c '' 2>/dev/null && return
  rm -rf "$env/venv"
  python3 -m venv "$env/venv"
  "$env/venv/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2 || fail "pip install failed"
  cp "$pins" "$env/venv/"
}

gateway_pid=
clean_up() {
  [[ -z $gateway_pid ]] || kill -KILL "$gateway_pid" || true
} 2>/dev/null
trap clean_up EXIT

mkdir -p "$env"
install
[[ -x $binary ]] || (cd "$root" && cargo build --release -p gateway) || fail "the gateway doesn't build"

# The pipe tells when the gateway listens, so nobody has to sleep or guess a port.
exec 3< <(GATEWAY_ECHO_ENABLED=true exec "$binary" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 2>"$env/gateway.err")
gateway_pid=$!
address=
while read -r -t 30 line <&3; do
  [[ $line == "listening on http://"* ]] && address=${line#listening on http://} && break
done
[[ -n $address ]] || { tail -n 20 "$env/gateway.err" >&2; fail "the gateway doesn't listen"; }

rm -rf "$env/reports"
"$env/venv/bin/python" "$here/autobahn/judge.py" "ws://$address/echo" "$env/reports" || fail "see $env/reports"
