#!/bin/sh
# Opens the HTML report of a short run in a real browser and looks whether it shows what it should: see page.mjs.
#
#   loadtest/tests/page/run.sh                     runs target/release/loadtest with a gateway of its own
#   REPORT=report.html loadtest/tests/page/run.sh  a report that is there
#
# LOADTEST_BIN names another binary. Browser and library are those of gateway/tests/page, installed below target/test-env/page.
# Ends with 0 when all checks hold, and says what failed otherwise; it never skips.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
env_dir=$root/target/test-env/page
playwright=1.65.1

fail() {
    echo "report test: $1" >&2
    exit 1
}

mkdir -p "$env_dir"
missing=
command -v node >/dev/null && command -v npm >/dev/null || missing="nodejs npm"
command -v chromium >/dev/null || missing="$missing chromium"
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || fail "missing:$missing; run this as root or apt-get install them"
    # shellcheck disable=SC2086
    { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$env_dir/apt.log" 2>&1 ||
        fail "$missing could not be installed: see $env_dir/apt.log"
fi

if ! grep -qs "\"version\": \"$playwright\"" "$env_dir/node_modules/playwright-core/package.json"; then
    npm install --prefix "$env_dir" --no-audit --no-fund --save-exact "playwright-core@$playwright" >"$env_dir/npm.log" 2>&1 ||
        fail "playwright-core $playwright could not be installed: see $env_dir/npm.log"
fi

if [ -z "${REPORT:-}" ]; then
    binary=${LOADTEST_BIN:-$root/target/release/loadtest}
    [ -x "$binary" ] || fail "$binary is missing: cargo build --release --workspace, or set REPORT"
    REPORT=$env_dir/report.html
    rm -f "$REPORT"
    "$binary" run --start --clients 60 --symbols 20 --symbols-per-client 4 --duration 6s \
        --mix fast=60,slow:16kB/s=20,stalled=10,resuming:1s=10 --require 'p99 < 2s' --html "$REPORT" >"$env_dir/report.out" 2>&1 ||
        fail "the run is not clean: see $env_dir/report.out"
fi

CHROMIUM=$(command -v chromium) REPORT=$REPORT PAGE_ENV=$env_dir node "$root/loadtest/tests/page/page.mjs"
