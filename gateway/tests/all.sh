#!/usr/bin/env bash
# Sets up and runs all tests: all.sh [quick] [--long]
#
# quick: formatting, lints, every test that cargo runs (unit, table, golden, property, simulation, whole gateway), and the inputs of
# the fuzzer that are kept.
# Without it, also: documentation, the release build, ten thousand simulated worlds, the bugs planted to be found in them, the core
# under a fuzzer for a minute per target, the Autobahn cases against the framing, the README's own commands, real third-party clients,
# the page in a browser, dashboards and rules against a real Prometheus, the files of deploy with an image built from them, load runs and
# their report in a browser, two minutes of faults, a rolling restart of a thousand clients, and a small bench. With --long, faults happen
# for ten minutes, and ten thousand clients are restarted over one. What a step needs it installs itself (target/test-env, apt-get for a browser, an
# interpreter or a tool); a step that cannot run fails. Ends with the
# number of steps passed and failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

passed=0
failed=()

step() { # name, command...
  local name=$1 start=$SECONDS
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  if "$@"; then
    passed=$((passed + 1))
    printf '=== %s passed in %d s\n' "$name" $((SECONDS - start))
  else
    failed+=("$name")
    printf '=== %s FAILED after %d s\n' "$name" $((SECONDS - start))
  fi
}

finish() {
  printf '\n%d s in all\n' "$SECONDS"
  for name in "${failed[@]+"${failed[@]}"}"; do printf 'failed: %s\n' "$name"; done
  printf '%d passed, %d failed\n' "$passed" "${#failed[@]}"
  exit $((${#failed[@]} > 0))
}

quick() {
  step format cargo fmt --all --check
  step lints cargo clippy --workspace --all-targets --quiet -- -D warnings
  step tests cargo test --workspace --quiet
  # A workspace of its own.
  step fuzz-format cargo fmt --manifest-path gateway/fuzz/Cargo.toml --check
  step fuzz-lints cargo clippy --manifest-path gateway/fuzz/Cargo.toml --target-dir target/fuzz --no-default-features --features planted \
    --all-targets --quiet -- -D warnings
  step replay gateway/tests/fuzz.sh replay
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

full() {
  step documentation env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --quiet
  step release cargo build --release --workspace --quiet
  step worlds target/release/sim --seeds 10000
  step planted cargo test --release -p sim --features planted --test planted --quiet -- --nocapture
  step fuzz gateway/tests/fuzz.sh
  step autobahn gateway/tests/autobahn.sh
  step clients gateway/tests/clients/run.sh
  step page gateway/tests/page/run.sh
  step readme gateway/tests/readme.sh
  step prometheus gateway/tests/prometheus.sh
  step deploy gateway/tests/deploy.sh
  step load load
  step report loadtest/tests/page/run.sh
  step faults faults
  # Printed and never judged: numbers of a machine with other work say little.
  step bench target/release/loadtest bench --small
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
quick
if [[ $what == all ]]; then full; fi
finish
