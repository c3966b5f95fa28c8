#!/usr/bin/env bash
# Runs one peer of the benchmark in the foreground until SIGTERM: PORT=n FEED=host:port run.sh NAME
#
# Owns the start of a server and of our glue, and nothing after: the process becomes the server itself, so its id is the
# one to measure and to end (nginx serves in a child of its own name). uws, bun and ws serve in the process that reads the
# feed. For nats, nchan and mosquitto the glue is a child called node; it ends when the server ends, and ends the server
# when it cannot go on. Prints `ready` when it listens on 127.0.0.1:PORT and is connected to the publisher at FEED; one
# that ends without it has failed, whatever its exit code. Logs go to stderr.
#
# One thread serves, because the benchmark compares cores: node, bun and mosquitto have no more, nginx gets one
# worker, Go one processor. Settings that may be given:
#   BUFFER_BYTES  what a server may hold for one client, 64 MiB: a busy client that reads is not cut or left out. It is
#                 the default of nats; the others' own limits are lower and would drop messages in a burst
#   GLUE_CPU      the core for the glue of nats, nchan and mosquitto, so that it does not use the server's
#   GOMAXPROCS    1
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export BENCH_ENV=${CARGO_TARGET_DIR:-$root/target}/bench-env
export BUFFER_BYTES=${BUFFER_BYTES:-67108864}

fail() {
  echo "peers: $*" >&2
  exit 1
}

# The package for this system is the one that npm took.
run_bun() {
  local binaries=("$BENCH_ENV"/bun/node_modules/@oven/bun-*/bin/bun) binary
  for binary in "${binaries[@]}"; do
    "$binary" --version >/dev/null 2>&1 && exec "$binary" "$@"
  done
  fail "bun is not installed, or has no binary for this machine: setup.sh bun"
}

# A folder of this run for sockets, pid files and the settings made from NAME.conf. The next run on the port clears it.
prepare() { # name
  export RUN=$BENCH_ENV/run/$1-$PORT
  rm -rf "$RUN"
  mkdir -p "$RUN"
  sed -e "s|@PORT@|$PORT|g" -e "s|@RUN@|$RUN|g" -e "s|@ENV@|$BENCH_ENV|g" -e "s|@BUFFER_BYTES@|$BUFFER_BYTES|g" \
    -e "s|@BUFFER_MESSAGES@|$((BUFFER_BYTES / 256))|g" -e "s|@FILES@|$(ulimit -n)|g" "$here/$1.conf" >"$RUN/$1.conf"
  export LD_LIBRARY_PATH=$BENCH_ENV/$1/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# The glue alone prints to stdout.
start_glue() { # name
  export SERVER_PID=$$
  if [[ -n ${GLUE_CPU:-} ]]; then
    taskset -c "$GLUE_CPU" node "$here/$1.mjs" &
  else
    node "$here/$1.mjs" &
  fi
  exec >&2
}

name=${1:?"usage: PORT=n FEED=host:port run.sh NAME"}
if [[ $name == --bun ]]; then run_bun "${@:2}"; fi
[[ ${PORT:-} =~ ^[0-9]+$ ]] || fail "PORT is missing: where to listen"
[[ ${FEED:-} == *:* ]] || fail "FEED is missing: host:port of the publisher"
export PORT FEED
# A client is a file.
ulimit -n "$(ulimit -Hn)"

case $name in
  uws) exec node "$here/uws.mjs" ;;
  uws-direct) exec node "$here/uws.mjs" --direct ;;
  bun) run_bun "$here/bun.mjs" ;;
  ws) exec node "$here/ws.mjs" ;;
  nats)
    prepare nats
    start_glue nats
    GOMAXPROCS=${GOMAXPROCS:-1} exec "$BENCH_ENV/nats/bin/nats-server" -c "$RUN/nats.conf" ;;
  nchan)
    prepare nchan
    start_glue nchan
    exec "$BENCH_ENV/nchan/usr/sbin/nginx" -e stderr -p "$RUN" -c "$RUN/nchan.conf" ;;
  mosquitto)
    prepare mosquitto
    start_glue mosquitto
    exec "$BENCH_ENV/mosquitto/usr/sbin/mosquitto" -c "$RUN/mosquitto.conf" ;;
  *) fail "no peer is called $name" ;;
esac
