#!/usr/bin/env bash
# Real, unmodified third-party clients against the gateway: run.sh [--seconds 10]
#
# Owns the clients' environment in target/test-env/clients, one gateway with the simulated feed, and the verdict: a line
# per client, and exit code 0 only if every client ran and found everything right. Never skips a client: one that cannot
# run has failed. GATEWAY_HTTP=http://host:port takes a running gateway instead of starting one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
env=$target/test-env/clients
gateway=$target/release/gateway
seconds=10
# Beyond the run itself: imports, connecting, reference data. A client that needs longer hangs.
grace_s=60

fail() {
  echo "clients: $*" >&2
  exit 1
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --seconds) seconds=${2:?--seconds wants a number}; shift 2 ;;
    *) fail "unknown argument $1; usage: run.sh [--seconds 10]" ;;
  esac
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--seconds wants a whole number above 0, not $seconds"

# The gateway takes GATEWAY_* as its settings and would refuse this one.
url=${GATEWAY_HTTP:-}
unset GATEWAY_HTTP

# The registries may lie behind a proxy; the gateway doesn't.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"
export no_proxy=$NO_PROXY
# The sources' folder stays as it is.
export PYTHONDONTWRITEBYTECODE=1

apt_install() {
  echo "clients: installing $*" >&2
  {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
  } >"$env/apt.log" 2>&1 || fail "apt-get install $* failed, see $env/apt.log"
}

# A stamp is a copy of the pins, written when all of them are there.
install_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  cmp -s "$here/requirements.txt" "$env/venv/requirements.txt" && "$env/venv/bin/python" -c '' 2>/dev/null && return
  rm -rf "$env/venv"
  python3 -m venv "$env/venv"
  "$env/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2 ||
    fail "pip install failed"
  cp "$here/requirements.txt" "$env/venv/"
}

install_node() {
  command -v node >/dev/null && command -v npm >/dev/null || apt_install nodejs npm
  cmp -s "$here/package-lock.json" "$env/node_modules/package-lock.json" && return
  cp "$here/package.json" "$here/package-lock.json" "$env/"
  (cd "$env" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2) || fail "npm ci failed"
  cp "$here/package-lock.json" "$env/node_modules/"
}

# Sets `url` and `gateway_pid`. The pipe tells when the gateway listens, so nobody has to sleep or guess a port.
start_gateway() {
  [[ -x $gateway ]] || (cd "$root" && cargo build --release -p gateway) || fail "the gateway doesn't build"
  exec 3< <(exec "$gateway" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --feed sim 2>"$logs/gateway.err")
  gateway_pid=$!
  while read -r -t 30 line <&3; do
    echo "$line" >>"$logs/gateway.out"
    [[ $line == "listening on http://"* ]] && url=${line#listening on } && break
  done
  [[ -n $url ]] || { tail -n 20 "$logs/gateway.err" >&2; fail "the gateway doesn't listen"; }
  cat <&3 >>"$logs/gateway.out" 2>/dev/null &
}

stop_gateway() {
  kill -TERM "$gateway_pid" 2>/dev/null || fail "the gateway died during the run, see $logs/gateway.err"
  # It may say goodbye to its clients first, but not for ever.
  timeout 15 tail --pid="$gateway_pid" -f /dev/null || fail "the gateway didn't stop within 15 s"
}

# Leaves nothing running, whatever ended this script, and leaves its exit code alone.
clean_up() {
  [[ -z $gateway_pid ]] || kill -KILL "$gateway_pid" || true
  [[ ${#pids[@]} == 0 ]] || kill "${pids[@]}" || true
} 2>/dev/null

# Becomes one client: its line goes to $logs/NAME.out, its complaints to $logs/NAME.err. For the background.
become_client() {
  local name=$1
  shift
  cd "$env"
  exec >"$logs/$name.out" 2>"$logs/$name.err"
  exec timeout -k 5 $((seconds + grace_s)) "$@" "$url" "$seconds" "${symbols[@]}"
}

# The client said so itself, or it failed.
judge_client() {
  local name=$1 code=$2 line
  line=$(tail -n 1 "$logs/$name.out")
  if [[ $code == 0 && $line == '{"client"'* ]]; then
    echo "PASS $line"
  else
    echo "FAIL ${line:-"$name said nothing, exit code $code"}"
    tail -n 20 "$logs/$name.err" >&2
    failed=1
  fi
}

mkdir -p "$env"
exec 9>"$env/lock"
flock 9
install_python
install_node
flock -u 9

# Logs are of this run alone; they stay for whoever wants to know why it failed.
logs=$(mktemp -d "$env/run.XXXXXX")
gateway_pid=
declare -A pids
trap clean_up EXIT
[[ -n $url ]] || start_gateway
mapfile -t symbols < <("$env/venv/bin/python" "$here/symbols.py" "$url")
[[ ${#symbols[@]} -ge 4 ]] || fail "no symbols to follow at $url"

become_client ccxt-python "$env/venv/bin/python" "$here/ccxt_client.py" & pids[ccxt-python]=$!
become_client ccxt-node node "$here/ccxt_client.mjs" & pids[ccxt-node]=$!
become_client python-kraken-sdk "$env/venv/bin/python" "$here/kraken_sdk_client.py" & pids[python-kraken-sdk]=$!

failed=0
for name in ccxt-python ccxt-node python-kraken-sdk; do
  code=0
  wait "${pids[$name]}" || code=$?
  unset "pids[$name]"
  judge_client "$name" "$code"
done
[[ -z $gateway_pid ]] || { stop_gateway; gateway_pid=; }
[[ $failed == 0 ]] || fail "see $logs"
rm -r "$logs"
