#!/bin/sh
# Opens the demo page of a gateway in a real browser and looks whether it lives: see page.mjs.
#
#   GATEWAY_HTTP=http://127.0.0.1:8080 gateway/tests/page/run.sh    a gateway that runs already
#   gateway/tests/page/run.sh                                       starts target/release/gateway with its simulator
#
# GATEWAY_BIN names another binary. What the test needs is installed under target/test-env/page, Chromium by apt-get.
# Ends with 0 when all checks hold, and says what failed otherwise; it never skips.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
env_dir=$root/target/test-env/page
playwright=1.65.1
gateway=

fail() {
    echo "page test: $1" >&2
    exit 1
}

stop() {
    [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null && wait "$gateway"; } || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

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

if [ -z "${GATEWAY_HTTP:-}" ]; then
    binary=${GATEWAY_BIN:-$root/target/release/gateway}
    [ -x "$binary" ] || fail "$binary is missing: cargo build --release -p gateway, or set GATEWAY_HTTP"
    out=$env_dir/gateway.out
    : >"$out"
    "$binary" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --feed sim >"$out" 2>"$env_dir/gateway.err" &
    gateway=$!
    tries=0
    until GATEWAY_HTTP=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$out" | head -n 1) && [ -n "$GATEWAY_HTTP" ]; do
        kill -0 "$gateway" 2>/dev/null || fail "the gateway ended at once: see $env_dir/gateway.err"
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail "the gateway did not say where it listens within 10 s: see $out"
        sleep 0.1
    done
fi

CHROMIUM=$(command -v chromium) GATEWAY_HTTP=$GATEWAY_HTTP PAGE_ENV=$env_dir node "$root/gateway/tests/page/page.mjs"
