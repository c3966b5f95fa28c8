#!/usr/bin/env bash
# Coverage-guided fuzzing of the core: fuzz.sh [SECONDS_PER_TARGET | replay | build | corpus], 60 seconds by default.
#
# replay: replays the corpora and the findings that are kept, without a fuzzer and on any Rust. build: builds the targets of gateway/fuzz
# with the address sanitizer. Seconds: both, and lets each target run that long, two at a time. Inputs that a run finds new are kept in
# target/test-env/fuzz, never in the repository, so that the next run goes on from there. corpus: chooses the corpora of the
# repository anew from all of these, the fewest inputs that reach as much. What it needs it installs itself
# (cargo-fuzz below target/test-env, a C++ compiler with apt-get). Ends with a line per target; the exit code is 0 only when nothing
# was found and every target ran.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

crate=gateway/fuzz
target=${CARGO_TARGET_DIR:-$PWD/target}
env=$target/test-env/fuzz
cargo_fuzz_version=0.13.2
# The core's own targets, the deepest first: it is the slowest.
targets=(hub_operations feed_line frame_reader client_request token)
at_a_time=2
# An input that takes longer hangs; the slowest that are kept take a twentieth of a second.
input_s=60
# Beyond the time of a run: reading the corpus.
grace_s=600
# Longest input of a corpus in the repository.
kept_bytes_max=3000
# A run that tried fewer inputs than this did nothing.
executions_min=100

fail() {
  echo "fuzz: $*" >&2
  exit 1
}

usage() {
  echo "usage: fuzz.sh [SECONDS_PER_TARGET | replay | build | corpus]" >&2
  exit 2
}

# Builds and runs a program with the address sanitizer; the arguments are how cargo is called.
sanitizes() {
  local probe=$env/probe
  rm -rf "$probe"
  mkdir -p "$probe/src"
  printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >"$probe/Cargo.toml"
  echo 'fn main() {}' >"$probe/src/main.rs"
  RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$probe/target \
    "$@" run --quiet --manifest-path "$probe/Cargo.toml" --target "$host" >"$env/probe.log" 2>&1
}

# Sets `cargo` to a cargo whose compiler has the sanitizer: the one in use, whose unstable options are allowed by RUSTC_BOOTSTRAP
# when it is a stable one, or a nightly.
find_cargo() {
  host=$(rustc -vV | sed -n 's/^host: //p')
  cargo=(env RUSTC_BOOTSTRAP=1 cargo)
  sanitizes "${cargo[@]}" && return
  cp "$env/probe.log" "$env/probe-default.log"
  cargo=(cargo +nightly)
  sanitizes "${cargo[@]}" && return
  tail -n 5 "$env/probe-default.log" >&2
  fail "this Rust ($(rustc -V)) has no address sanitizer for $host, and there is no nightly one that has." \
    "Install Rust with rustup, whose toolchains bring it on Linux (https://rustup.rs), or: rustup toolchain install nightly." \
    "Without a sanitizer, replay what is kept: gateway/tests/fuzz.sh replay"
}

find_compiler() {
  command -v c++ >/dev/null && return
  echo "fuzz: installing g++" >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++; } \
    >"$env/apt.log" 2>&1 || fail "the fuzzer is written in C++: install g++ or clang++ ($env/apt.log says why apt-get could not)"
}

# Exactly one version, so that runs can be compared.
install_cargo_fuzz() {
  [[ $("$env/bin/cargo-fuzz" --version 2>/dev/null) == "cargo-fuzz $cargo_fuzz_version" ]] && return
  echo "fuzz: installing cargo-fuzz $cargo_fuzz_version into $env" >&2
  cargo install --quiet --locked --root "$env" --version "$cargo_fuzz_version" cargo-fuzz ||
    fail "cargo install cargo-fuzz failed"
}

replay() {
  cargo test --quiet --locked --manifest-path $crate/Cargo.toml --no-default-features --features planted \
    --target-dir "$target/fuzz" -- --nocapture
}

build() {
  PATH=$env/bin:$PATH "${cargo[@]}" fuzz build --fuzz-dir $crate --target-dir "$target/fuzz" >"$env/build.log" 2>&1 ||
    { tail -n 40 "$env/build.log" >&2; fail "the targets do not build, see $env/build.log"; }
}

binary() { echo "$target/fuzz/$host/release/$1"; }

# Runs one target: what it finds new goes to the first folder.
run() {
  local name=$1 seconds=$2 dictionary=() length=4096
  local folders=("$env/corpus/$name" "$crate/corpus/$name")
  mkdir -p "$env/corpus/$name" "$env/findings"
  [[ ! -d $crate/regressions/$name ]] || folders+=("$crate/regressions/$name")
  [[ ! -f $crate/dictionaries/$name.dict ]] || dictionary=("-dict=$crate/dictionaries/$name.dict")
  [[ $name != feed_line ]] || length=8192
  rm -f "$env/findings/$name"-*
  timeout -k 10 $((seconds + grace_s)) "$(binary "$name")" \
    -max_total_time="$seconds" -max_len=$length -timeout=$input_s -artifact_prefix="$env/findings/$name-" -print_final_stats=1 \
    "${dictionary[@]+"${dictionary[@]}"}" "${folders[@]}" >"$env/$name.log" 2>&1
}

# The n-th figure that the fuzzer told last under a name, such as `cov:`.
figure() { grep -a -o "$2 [0-9]*" "$env/$1.log" | tail -n 1 | grep -o '[0-9]*$' || echo 0; }

# Says what became of a run, and how to see a finding again.
judge() {
  local name=$1 code=$2 seconds=$3 executions finding
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$env/$name.log" | tail -n 1)
  local edges inputs figures
  edges=$(figure "$name" cov:)
  inputs=$(figure "$name" corp:)
  figures="${executions:-0} executions in $seconds s, $edges edges covered, $inputs inputs in the corpus"
  if [[ $code == 0 && ${executions:-0} -ge $executions_min ]]; then
    echo "PASS $name: $figures"
    return 0
  fi
  echo "FAIL $name: $figures, exit code $code, see $env/$name.log"
  grep -a -A 2 -m 1 -e 'panicked at' -e 'ERROR: AddressSanitizer' -e 'ERROR: libFuzzer' "$env/$name.log" | cut -c 1-400
  for finding in "$env/findings/$name"-*; do
    [[ -f $finding && $finding != *slow-unit* ]] || continue
    echo "  see it again: $(binary "$name") $finding"
    [[ $name != hub_operations ]] ||
      echo "  and what led to it: cargo run --manifest-path $crate/Cargo.toml --no-default-features --example explain $finding"
    echo "  make it short: $(binary "$name") -minimize_crash=1 -max_total_time=60 $finding"
    echo "  keep it, once it is mended: install -D $finding $crate/regressions/$name/WHAT_WAS_WRONG"
  done
  return 1
}

fuzz() {
  local seconds=$1 name verdict=0
  local -A pids=() codes=()
  echo "=== fuzz: ${#targets[@]} targets, $seconds s each, $at_a_time at a time"
  for name in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= at_a_time)); do wait -n || true; done
    run "$name" "$seconds" &
    pids[$name]=$!
  done
  for name in "${targets[@]}"; do
    codes[$name]=0
    wait "${pids[$name]}" || codes[$name]=$?
  done
  for name in "${targets[@]}"; do
    judge "$name" "${codes[$name]}" "$seconds" || verdict=1
  done
  return $verdict
}

# Chooses each corpus anew, from short inputs, and by what is reached and not by how often: a repository wants little.
renew_corpora() {
  local name known chosen
  for name in "${targets[@]}"; do
    known=$env/known/$name chosen=$env/chosen/$name
    rm -rf "$known" "$chosen"
    mkdir -p "$known" "$chosen" "$env/corpus/$name" "$crate/corpus/$name"
    find "$crate/corpus/$name" "$env/corpus/$name" -type f -size "-${kept_bytes_max}c" -exec cp -t "$known" {} +
    "$(binary "$name")" -merge=1 -set_cover_merge=1 -use_counters=0 -artifact_prefix="$env/chosen/" "$chosen" "$known" \
      >"$env/chosen/$name.log" 2>&1 || fail "the corpus of $name cannot be chosen, see $env/chosen/$name.log"
    rm -rf "${crate:?}/corpus/$name"
    cp -r "$chosen" "$crate/corpus/$name"
    echo "$name: $(find "$chosen" -type f | wc -l) inputs, $(du -sb "$chosen" | cut -f 1) bytes"
  done
}

# Nothing goes on running behind this script.
clean_up() {
  local pids
  pids=$(jobs -p)
  [[ -z $pids ]] || kill $pids 2>/dev/null || true
}
trap clean_up EXIT

argument=${1:-60}
[[ $# -le 1 && ($argument =~ ^(replay|build|corpus)$ || $argument =~ ^[1-9][0-9]*$) ]] || usage
mkdir -p "$env"
if [[ $argument != build && $argument != corpus ]]; then
  echo "=== replay: what is kept in $crate/corpus and $crate/regressions"
  replay || fail "an input that was kept fails, see above"
fi
[[ $argument != replay ]] || exit 0
find_cargo
find_compiler
install_cargo_fuzz
build
case $argument in
  build) ;;
  corpus) renew_corpora ;;
  *) fuzz "$argument" ;;
esac
