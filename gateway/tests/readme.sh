#!/usr/bin/env bash
# Runs the commands and programs of README.md, as they stand there: every fenced block behind `<!-- run: NAME -->`.
#
# On the README's own ports (8080, 9464, 7001), which must be free. Python programs run in the environment of the client tests below
# target/test-env/clients; what they need beyond it is installed there, pinned. Every command has a time limit. Ends with 0 only when
# every block did what the README says; never skips one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
python=$target/test-env/clients/venv/bin/python
http=http://127.0.0.1:8080
admin=http://127.0.0.1:9464
# Builds from nothing on two cores take minutes; everything else takes seconds.
build_s=1800
ready_s=120
program_s=120

# The registries may lie behind a proxy; the gateway doesn't.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"
export no_proxy=$NO_PROXY

mkdir -p "$target/test-env"
logs=$(mktemp -d "$target/test-env/readme.XXXXXX")
declare -A pids=()

fail() {
  echo "readme: $*; logs are in $logs" >&2
  exit 1
}

cleanup() {
  for name in "${!pids[@]}"; do kill -KILL "${pids[$name]}" 2>/dev/null || true; done
}
trap cleanup EXIT

# Prints the fenced block behind the marker NAME.
block() {
  awk -v marker="<!-- run: $1 -->" '
    $0 == marker { found = 1; next }
    found && /^```/ { if (inside) exit; inside = 1; next }
    inside { print }
  ' README.md >"$logs/$1.block"
  [[ -s $logs/$1.block ]] || fail "README.md has no block marked \`run: $1\`"
  cat "$logs/$1.block"
}

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Starts the block NAME in the background; cargo replaces itself by the program, so that its process is the program's.
start() {
  local name=$1 command
  command=$(block "$name")
  echo "readme: $name: $command"
  # One command a block: the shell is replaced as well.
  bash -c "exec $command" >"$logs/$name.out" 2>"$logs/$name.err" &
  pids[$name]=$!
}

is_alive() {
  kill -0 "${pids[$1]}" 2>/dev/null || { tail -n 20 "$logs/$1.err" >&2; fail "$1 ended by itself"; }
}

# Waits until a command succeeds while the program NAME lives.
wait_for() { # name, what, command...
  local name=$1 what=$2 until=$((SECONDS + ready_s))
  shift 2
  until "$@" >/dev/null 2>&1; do
    is_alive "$name"
    [[ $SECONDS -lt $until ]] || { tail -n 20 "$logs/$name.err" >&2; fail "$name: no $what within $ready_s s"; }
    sleep 0.2
  done
}

stop() {
  local name=$1
  is_alive "$name"
  kill -TERM "${pids[$name]}"
  timeout 15 tail --pid="${pids[$name]}" -f /dev/null || fail "$name doesn't end within 15 s"
  unset "pids[$name]"
}

# Prints what an address answers; fails when it answers with an error or not at all.
get() {
  timeout 10 "$python" -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"
}

# Whether REST has levels on both sides of some book.
has_book() {
  timeout 10 "$python" - "$http" <<'PY'
import json, sys
from urllib.request import urlopen

def get(path):
    with urlopen(sys.argv[1] + path, timeout=5) as answer:
        return json.load(answer)["result"]

symbol = next(iter(get("/0/public/AssetPairs")))
book = get("/0/public/Depth?pair=" + symbol)[symbol]
sys.exit(not (book["bids"] and book["asks"]))
PY
}

wait_for_book() {
  wait_for "$1" "listener" get "$http/"
  wait_for "$1" "readiness" get "$admin/readyz"
  wait_for "$1" "book" has_book
}

# Runs the Python block NAME and shows what it printed.
run_python() {
  local name=$1
  block "$name" >"$logs/$name.py"
  echo "readme: $name"
  timeout -k 5 $program_s "$python" "$logs/$name.py" >"$logs/$name.out" 2>"$logs/$name.err" ||
    { tail -n 20 "$logs/$name.err" >&2; fail "$name ended with $?"; }
  cut -c1-150 "$logs/$name.out"
}

# Requires a text in what the block NAME printed.
require() {
  grep -qE -- "$2" "$logs/$1.out" || { cat "$logs/$1.out" >&2; fail "$1 printed no $2"; }
}

install_python() {
  # The client tests own this environment; the same pins, and one installer at a time.
  local env=$target/test-env/clients
  mkdir -p "$env"
  exec 9>"$env/lock"
  flock 9
  if ! cmp -s "$here/clients/requirements.txt" "$env/venv/requirements.txt" || ! "$python" -c '' 2>/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv; } >"$logs/apt.log" 2>&1 ||
      fail "apt-get install python3 python3-venv failed, see $logs/apt.log"
    rm -rf "$env/venv"
    python3 -m venv "$env/venv"
    timeout $build_s "$env/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/clients/requirements.txt" >&2 ||
      fail "pip install failed"
    cp "$here/clients/requirements.txt" "$env/venv/"
  fi
  flock -u 9
  "$python" -c 'import websockets, ccxt.pro' || fail "the environment lacks websockets or ccxt"
}

for port in 8080 9464 7001; do
  port_is_free "$port" || fail "something listens on port $port, which the README's commands need"
done
install_python
# One by one, as the README's commands will ask for them: another set of packages is another set of features and another build.
for package in gateway feed-sim loadtest; do
  timeout $build_s cargo build --release --quiet -p "$package" || fail "$package doesn't build"
done

echo "readme: explain: $(block explain)"
timeout -k 5 $program_s bash -c "$(block explain)" >"$logs/explain.out" 2>"$logs/explain.err" ||
  { tail -n 20 "$logs/explain.err" >&2; fail "explain ended with an error"; }
require explain ' update$'
require explain '^  end +live  and has everything'
require explain '^  book +equal  to the engine'

start gateway
wait_for_book gateway
get "$http/" | grep -i '<html' >/dev/null || fail "the demo page isn't there"

run_python plain-client
require plain-client '^\{"channel":"status"'
require plain-client '^\{"method":"subscribe".*"success":true'
require plain-client '^\{"channel":"book","type":"snapshot"'
require plain-client '^\{"channel":"book","type":"update"'

run_python ccxt-client
[[ $(grep -cE '^\[[0-9.]+, [0-9.e-]+\] \[[0-9.]+, [0-9.e-]+\]$' "$logs/ccxt-client.out") == 5 ]] || fail "ccxt-client printed no five books"

echo "readme: loadtest: $(block loadtest)"
timeout -k 5 $program_s bash -c "$(block loadtest)" >"$logs/loadtest.out" 2>"$logs/loadtest.err" ||
  { cat "$logs/loadtest.out" >&2; tail -n 20 "$logs/loadtest.err" >&2; fail "loadtest ended with an error"; }
cat "$logs/loadtest.out"
require loadtest '^result +clean$'
require loadtest '^clients +100 of 100 connected'

is_alive gateway
stop gateway

start feed-sim
wait_for feed-sim "listener" grep -q 'serving on' "$logs/feed-sim.err"
start gateway-tcp
wait_for_book gateway-tcp
require gateway-tcp 'feed +tcp://127\.0\.0\.1:7001'
run_python plain-client
stop gateway-tcp
stop feed-sim

start gateway-replay
wait_for_book gateway-replay
stop gateway-replay

echo "readme: everything that README.md says works"
rm -r "$logs"
