#!/usr/bin/env bash
# Proves that the peers of the benchmark work, or those that are named: check.sh [NAME...]
#
# Owns nothing but the order of things: installs what is missing by setup.sh, then lets check.mjs publish records
# through each peer to real clients. Prints the versions and a line per peer; ends with 0 only if all of them passed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
[[ $# -gt 0 ]] || set -- uws uws-direct bun ws nats nchan mosquitto

# The clients of the check come from the package ws, whichever peer is checked.
"$here/setup.sh" ws >/dev/null
"$here/setup.sh" "$@"
BENCH_ENV=${CARGO_TARGET_DIR:-$root/target}/bench-env exec node "$here/check.mjs" "$@"
