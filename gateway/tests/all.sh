#!/usr/bin/env bash
# Sets up and runs all tests: all.sh [quick] [--long]
#
# quick: formatting, lints, every test that cargo runs (unit, table, golden, property, simulation, whole gateway), and the inputs of
# the fuzzer that are kept.
# Without it, also: documentation, the release build, ten thousand simulated worlds, the bugs planted to be found in them, the core
# under a fuzzer for a minute per target, the Autobahn cases against the framing, the README's own commands, real third-party clients,
# the page in a browser, dashboards and rules against a real Prometheus, the files of deploy with an image built from them, load runs and
# their report in a browser, two minutes of faults, a rolling restart of a thousand clients, and a small bench. With --long, faults happen
# for ten minutes, and ten thousand clients are restarted over one. What a step needs it installs itself (target/test-env, apt-get for a
# browser, an interpreter or a tool); a step that cannot run fails.
#
# Steps that mostly wait run beside steps that compute, in two lanes; what judges or prints how fast something is has the machine for
# itself. The output of a step is kept in target/test-env/steps and printed in one piece when the step has ended. Ends with the
# number of steps passed and failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Where the scripts of the steps look as well.
logs=${CARGO_TARGET_DIR:-target}/test-env/steps
declare -A lanes=()
lost=()

# A step that is among `started` and left no file `passed` has failed, whatever became of it.
step() { # name, command...
  local name=$1 start=$SECONDS verdict='FAILED after'
  shift
  echo "$name" >>"$logs/started"
  say printf '\n=== %s begins: %s\n' "$name" "$*"
  if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
    verdict='passed in'
    touch "$logs/$name.passed"
  fi
  say tell "$name" "$verdict" $((SECONDS - start))
}

tell() { # name, verdict, seconds
  printf '\n=== %s:\n' "$1"
  cat "$logs/$1.log"
  printf '=== %s %s %d s\n' "$@"
}

# Nobody else prints meanwhile.
say() { { flock 8 && "$@"; } 8>"$logs/lock"; }

# Runs lanes side by side: functions with one step after the other. The first has deadlines to keep; the others get what it leaves of the
# machine. No two of them may install with apt-get.
together() { # lane...
  local lane first=$1
  for lane in "$@"; do
    # In a process group of its own, so that it can be stopped with all that it started.
    set -m
    {
      set +m
      [[ $lane == "$first" ]] || renice -n 19 "$BASHPID" >/dev/null
      "$lane"
    } &
    lanes[$lane]=$!
    set +m
  done
  for lane in "$@"; do
    wait "${lanes[$lane]}" || lost+=("the lane $lane, which ended with $?")
    unset "lanes[$lane]"
  done
}

stop() {
  local lane
  for lane in "${lanes[@]}"; do kill -TERM -- "-$lane" 2>/dev/null; done
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
  local name passed=0 failed=("${lost[@]+"${lost[@]}"}")
  while read -r name; do
    if [[ -e $logs/$name.passed ]]; then passed=$((passed + 1)); else failed+=("$name"); fi
  done <"$logs/started"
  printf '\n%d s in all\n' "$SECONDS"
  for name in "${failed[@]+"${failed[@]}"}"; do printf 'failed: %s\n' "$name"; done
  printf '%d passed, %d failed\n' "$passed" "${#failed[@]}"
  exit $((${#failed[@]} > 0))
}

# The inputs of the fuzzer that are kept: a workspace of its own.
kept() {
  step fuzz-format cargo fmt --manifest-path gateway/fuzz/Cargo.toml --check
  step fuzz-lints cargo clippy --manifest-path gateway/fuzz/Cargo.toml --target-dir target/fuzz --no-default-features --features planted \
    --all-targets --quiet -- -D warnings
  step replay gateway/tests/fuzz.sh replay
}

tests() {
  step tests cargo test --workspace --quiet
}

# One by one, as the README's commands ask for them: another set of packages is another set of features and another build.
release() {
  local package
  for package in gateway feed-sim loadtest sim; do cargo build --release --quiet -p "$package" || return; done
}

# What has to be built, while the tests mostly wait; the last of it is tried at once.
building() {
  kept
  step release release
  step documentation env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --quiet
  step fuzz-build gateway/tests/fuzz.sh build
  step deploy gateway/tests/deploy.sh
}

# The generator verifies every message; its exit code is non-zero on any violation, and on a threshold that does not hold.
load() {
  local out=target/test-env/load
  mkdir -p "$out"
  target/release/loadtest run --scenario loadtest/scenarios/mixed.toml --json "$out/mixed.json" --html "$out/mixed.html" &&
    target/release/loadtest run --scenario loadtest/scenarios/storms.toml --duration 15s &&
    target/release/loadtest run --start --rate 20000 --clients 1000 --symbols 20 --channel book --depth 10 --duration 30s &&
    target/release/loadtest compare "$out/mixed.json" "$out/mixed.json" --max-worse 0 &&
    target/release/loadtest find-max --clients 50 --symbols 20 --symbols-per-client 4 --p99 200ms --duration 2s --precision 100
}

# Everything goes wrong while verifying clients watch; then a gateway is drained into another one. Both judge themselves.
faults() {
  local out=target/test-env/load
  mkdir -p "$out"
  if [[ $long == yes ]]; then
    # Ten thousand clients need as many descriptors; whoever may not have them is told so.
    ulimit -S -n "$(ulimit -H -n)"
    target/release/loadtest faults --duration 10m --json "$out/faults.json" && target/release/loadtest rolling
  else
    target/release/loadtest faults --duration 2m --json "$out/faults.json" &&
      target/release/loadtest rolling --clients 1000 --window 6s --reconnect 2s
  fi
}

# Gateways among clients of all kinds, which wait for each other and for time to pass.
serving() {
  step autobahn gateway/tests/autobahn.sh
  step clients gateway/tests/clients/run.sh
  step page gateway/tests/page/run.sh
  step report loadtest/tests/page/run.sh
  step readme gateway/tests/readme.sh
  step prometheus gateway/tests/prometheus.sh
  step faults faults
}

# What needs nothing but processors. The planted bugs come last: they leave a simulator with bugs where the other was.
computing() {
  step fuzz gateway/tests/fuzz.sh
  step worlds target/release/sim --seeds 10000
  step planted cargo test --release -p sim --features planted --test planted --quiet -- --nocapture
}

long=no
what=all
for argument in "$@"; do
  case $argument in
    quick) what=quick ;;
    --long) long=yes ;;
    *)
      echo "usage: all.sh [quick] [--long]" >&2
      exit 2
      ;;
  esac
done
rm -rf "$logs"
mkdir -p "$logs"
step format cargo fmt --all --check
step lints cargo clippy --workspace --all-targets --quiet -- -D warnings
if [[ $what == quick ]]; then
  together tests kept
else
  together tests building
  together serving computing
  step load load
  # Printed and never judged: numbers of a machine with other work say little.
  step bench target/release/loadtest bench --small
fi
finish
