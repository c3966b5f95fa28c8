#!/usr/bin/env bash
# Metrics, dashboards and rules against a real Prometheus: prometheus.sh [--keep-pictures]
#
# Starts a feed that errs now and then, the release gateway, clients that keep up, stall or read slowly, and Debian's Prometheus with the
# shipped configuration and rules. Then: promtool on page, configuration and rules; the linter's rules and Grafana's schema on the
# dashboards; every query of every panel and rule has data; copies with a misspelt metric are found out; each dashboard is drawn.
# --keep-pictures puts the pictures into docs/dashboards, for whoever changed a dashboard and has looked at them.
# Owns target/test-env/prometheus. What is missing is installed with apt-get and pip; a step that cannot run fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
env=$target/test-env/prometheus
python=$env/venv/bin/python
checks=$here/prometheus
patience_s=150

export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"
export no_proxy=$NO_PROXY
export PYTHONDONTWRITEBYTECODE=1

fail() {
  echo "prometheus: $*" >&2
  exit 1
}

declare -A pids=()
cleanup() {
  for name in "${!pids[@]}"; do kill -KILL "${pids[$name]}" 2>/dev/null || true; done
}
trap cleanup EXIT

install() {
  local missing=()
  command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  if [[ ${#missing[@]} -gt 0 ]]; then
    echo "prometheus: installing ${missing[*]}" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$env/apt.log" 2>&1 ||
      fail "apt-get install ${missing[*]} failed, see $env/apt.log"
  fi
  cmp -s "$checks/requirements.txt" "$env/venv/requirements.txt" && "$python" -c '' 2>/dev/null && return
  rm -rf "$env/venv"
  python3 -m venv "$env/venv"
  "$env/venv/bin/pip" install --quiet --disable-pip-version-check -r "$checks/requirements.txt" >&2 || fail "pip install failed"
  cp "$checks/requirements.txt" "$env/venv/"
}

is_alive() {
  kill -0 "${pids[$1]}" 2>/dev/null || { tail -n 20 "$run/$1.log" >&2; fail "$1 ended by itself"; }
}

# Starts a program in the background; its words go to $run/NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$run/$name.log" 2>&1 &
  pids[$name]=$!
}

# Waits until a command succeeds while the program NAME lives.
wait_for() { # name, what, command...
  local name=$1 what=$2 until=$((SECONDS + patience_s))
  shift 2
  until "$@" >/dev/null 2>&1; do
    is_alive "$name"
    [[ $SECONDS -lt $until ]] || { tail -n 20 "$run/$name.log" >&2; fail "$name: no $what within $patience_s s"; }
    sleep 0.3
  done
}

get() {
  "$python" -c 'import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=30).read().decode())' "$1"
}

start_feed() {
  start feed "$target/release/feed-sim" serve --listen 127.0.0.1:0 --rate 2000 --fault gap@7s --fault garbage@5s --fault duplicate@3s
  wait_for feed "listener" grep -q 'serving on' "$run/feed.log"
  feed=$(sed -n 's|.*serving on \([0-9.:]*\).*|\1|p' "$run/feed.log")
}

start_gateway() {
  # Clients that stall are to be seen for the whole run.
  GATEWAY_LIMITS_STALL_MS=600000 start gateway "$target/release/gateway" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --feed "tcp://$feed"
  wait_for gateway "listener" grep -q '^ *metrics ' "$run/gateway.log"
  public=$(sed -n 's|^listening on http://||p' "$run/gateway.log")
  admin=$(sed -n 's|^admin on http://||p' "$run/gateway.log")
  wait_for gateway "readiness" get "http://$admin/readyz"
}

# Clients that keep up, some that do not read, and some that read slowly and come and go.
start_load() {
  local load=("$target/release/loadtest" run --url "ws://$public/v2?ext=1" --symbols 20 --duration 10m)
  start books "${load[@]}" --channel book --clients 40 --symbols-per-client 2
  start stalled "${load[@]}" --channel book --clients 12 --mix fast=8,stalled=92 --symbols-per-client 20
  start tickers "${load[@]}" --channel ticker --clients 20
  start odd "$python" "$checks/odd_client.py" "$public"
}

# The shipped configuration with the address of this run, read often.
start_prometheus() {
  mkdir -p "$run/rules"
  cp "$root/dashboards/rules/gateway.yml" "$run/rules/"
  cp "$root/deploy/compose/admin-token" "$run/admin-token"
  sed -e "s/gateway:9464/$admin/" -e 's/_interval: 5s/_interval: 1s/' "$root/deploy/compose/prometheus.yml" >"$run/prometheus.yml"
  grep -q "$admin" "$run/prometheus.yml" || fail "deploy/compose/prometheus.yml does not scrape gateway:9464"
  promtool check config "$run/prometheus.yml" || fail "promtool check config"
  local port
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  prometheus=http://127.0.0.1:$port
  start prometheus prometheus --config.file "$run/prometheus.yml" --storage.tsdb.path "$run/data" --web.listen-address "127.0.0.1:$port" \
    --log.level warn
  wait_for prometheus "listener" get "$prometheus/-/ready"
}

check_page() {
  local page=$run/metrics.txt said
  get "http://$admin/metrics" >"$page"
  said=$(promtool check metrics <"$page" 2>&1) || fail "promtool check metrics: $said"
  [[ -z $said ]] || fail "promtool check metrics: $said"
}

# A broken copy must be found out, by the names of what is wrong with it.
must_fail() { # what, names, command...
  local what=$1 names=$2 said
  shift 2
  if said=$("$@" 2>&1); then fail "$what was not found out: $said"; fi
  for name in $names; do grep -q "$name" <<<"$said" || fail "$what was found out without $name: $said"; done
  echo "prometheus: $what is found out"
}

check_doctored() {
  local copy=$run/doctored
  cp -r "$root/dashboards" "$copy"
  sed -i '0,/gateway_lane_length/s//gateway_lane_lenght/' "$copy/gateway-capacity.json"
  sed -i '0,/gateway_feed_connected == 0/s//gateway_feed_conected == 0/' "$copy/rules/gateway.yml"
  must_fail "a misspelt metric of a panel, and of an alert," "gateway_lane_lenght gateway_feed_conected" \
    "$python" "$checks/live.py" "$prometheus" "$copy"
  must_fail "the latter by its unit test" GatewayFeedLost promtool test rules "$copy/rules/gateway.test.yml"
  sed -i 's/"unit": "mps"/"unite": "mps"/' "$copy/gateway-overview.json"
  must_fail "a key that Grafana does not know" unite "$python" "$checks/lint.py" "$copy" "$root/docs/operations.md" "$run/metrics.txt"
}

case ${1:-} in
  "" | --keep-pictures) ;;
  *) fail "unknown argument $1; usage: prometheus.sh [--keep-pictures]" ;;
esac
mkdir -p "$env"
exec 9>"$env/lock"
flock 9
install
for program in gateway feed-sim loadtest; do
  [[ -x $target/release/$program ]] || (cd "$root" && cargo build --release -p "$program") || fail "$program does not build"
done
run=$(mktemp -d "$env/run.XXXXXX")

python3 "$root/dashboards/generate.py" --check
promtool check rules "$root/dashboards/rules/gateway.yml" || fail "promtool check rules"
promtool test rules "$root/dashboards/rules/gateway.test.yml" || fail "promtool test rules"
start_feed
start_gateway
check_page
start_prometheus
start_load
"$python" "$checks/lint.py" "$root/dashboards" "$root/docs/operations.md" "$run/metrics.txt"
"$python" "$checks/live.py" "$prometheus" "$root/dashboards"
check_page
check_doctored
mkdir -p "$run/pictures"
"$python" "$checks/render.py" "$prometheus" "$root/dashboards" "$run/pictures"
[[ ${1:-} != --keep-pictures ]] || { mkdir -p "$root/docs/dashboards" && cp "$run"/pictures/*.png "$root/docs/dashboards/"; }
for name in "${!pids[@]}"; do is_alive "$name"; done
echo "prometheus: metrics, dashboards and rules are right, $SECONDS s"
trap - EXIT
# The shell's word about each of them is no news.
{ cleanup; wait; } 2>/dev/null
rm -r "$run"
