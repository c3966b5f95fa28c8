#!/usr/bin/env bash
# What is deployed, as far as it can be tried without a container engine and without a registry of images: deploy.sh
#
# The unit by systemd-analyze; Dockerfile by hadolint; compose file by docker compose; the files against each other; settings by the
# gateway itself. Then the image is built for real from deploy/Dockerfile, by buildah on a base made of Debian's packages and this machine's
# Rust, and feed and gateway run from it, find each other by DNS, answer the load generator and end when told.
# Each check is also shown to fail on something broken. Owns target/test-env/deploy; needs root, as buildah's chroots do. What is missing
# is installed with apt-get and pip; a step that cannot run fails. Not tried: Docker itself, and the images of Prometheus and Grafana.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
env=$target/test-env/deploy
bin=$env/venv/bin
# systemd's scale goes to 100 here; a service without hardening has 96.
exposure_max=15
image_bytes_max=$((16 << 20))
patience_s=60
# A loopback address of our own for the name server; its port cannot be chosen.
dns=127.83.0.53
name=feed-sim.test

export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"
export no_proxy=$NO_PROXY
export PYTHONDONTWRITEBYTECODE=1

fail() {
  echo "deploy: $*" >&2
  exit 1
}

declare -A pids=()
declare -A programs=()
cleanup() {
  for one in "${programs[@]}" "${pids[@]}"; do kill -KILL "$one" 2>/dev/null || true; done
}
trap cleanup EXIT

install() {
  local missing=()
  command -v buildah >/dev/null || missing+=(buildah)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  command -v systemd-analyze >/dev/null || missing+=(systemd)
  command -v pgrep >/dev/null || missing+=(procps)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  if [[ ${#missing[@]} -gt 0 ]]; then
    echo "deploy: installing ${missing[*]}" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$env/apt.log" 2>&1 ||
      fail "apt-get install ${missing[*]} failed, see $env/apt.log"
  fi
  cmp -s "$here/deploy/requirements.txt" "$env/venv/requirements.txt" && "$bin/python" -c '' 2>/dev/null && return
  rm -rf "$env/venv"
  python3 -m venv "$env/venv"
  "$bin/pip" install --quiet --disable-pip-version-check -r "$here/deploy/requirements.txt" >&2 || fail "pip install failed"
  cp "$here/deploy/requirements.txt" "$env/venv/"
}

# A broken copy must be found out, or the check checks nothing.
must_fail() { # what, command...
  local what=$1
  shift
  if "$@" >"$run/broken.log" 2>&1; then fail "$what was not found out"; fi
  echo "deploy: $what is found out"
}

# systemd-analyze ends with 0 even for an unknown key; whatever it says is a complaint.
verify_unit() {
  local said
  said=$(systemd-analyze verify --man=no "$1" 2>&1) || fail "systemd-analyze verify: $said"
  [[ -z $said ]] || { echo "$said" >&2; return 1; }
}

check_unit() {
  local unit=$run/gateway.service
  sed "s|^ExecStart=/usr/bin/gateway |ExecStart=$target/release/gateway |" deploy/gateway.service >"$unit"
  grep -q "ExecStart=$target" "$unit" || fail "deploy/gateway.service does not start /usr/bin/gateway"
  verify_unit "$unit" || fail "the unit has faults"
  systemd-analyze security --offline=yes --threshold=$exposure_max "$unit" | tail -n 1 || fail "the unit is exposed more than $exposure_max"
  mkdir -p "$run/broken"
  sed 's/^NoNewPrivileges=/NoNewPrivilege=/' "$unit" >"$run/broken/gateway.service"
  must_fail "an unknown key of the unit" verify_unit "$run/broken/gateway.service"
  sed '/^ProtectSystem\|^CapabilityBoundingSet\|^SystemCallFilter\|^PrivateUsers/d' "$unit" >"$run/broken/gateway.service"
  must_fail "a unit without hardening" systemd-analyze security --offline=yes --threshold=$exposure_max "$run/broken/gateway.service"
}

check_files() {
  "$bin/hadolint" deploy/Dockerfile || fail "hadolint"
  sed 's/^FROM scratch AS gateway/FROM debian AS gateway/' deploy/Dockerfile >"$run/Dockerfile"
  must_fail "a base image without a version" "$bin/hadolint" "$run/Dockerfile"
  "$bin/docker-compose" -f deploy/compose/compose.yaml config -q || fail "docker compose config"
  sed 's/depends_on: \[gateway\]/depends_on: [gatway]/' deploy/compose/compose.yaml >"$run/compose.yaml"
  must_fail "a dependency that is not there" "$bin/docker-compose" -f "$run/compose.yaml" config -q
  "$bin/python" "$here/deploy/files.py" "$root" || fail "the files do not fit together"
  "$target/release/gateway" check-config --config deploy/gateway.toml || fail "deploy/gateway.toml cannot be used"
}

b() {
  buildah --root "$env/storage" --runroot "$env/runroot" --storage-driver vfs "$@"
}

# Debian with a C compiler, where the Dockerfile expects an image with Rust: made once, and used as long as Debian's release is the same.
make_base() {
  b inspect --type image rust-base >/dev/null 2>&1 && return
  echo "deploy: making a base image of Debian's packages" >&2
  mmdebstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates bookworm "$env/base.tar" >"$run/mmdebstrap.log" 2>&1 ||
    { tail -n 20 "$run/mmdebstrap.log" >&2; fail "mmdebstrap"; }
  local container
  container=$(b from scratch)
  b add -q "$container" "$env/base.tar" / >/dev/null
  b config --env PATH=/usr/local/rust/bin:/usr/bin:/bin --env CARGO_HOME=/usr/local/cargo "$container"
  b commit -q --rm "$container" rust-base >/dev/null
  rm "$env/base.tar"
}

# Rust and crates come from this machine; what was compiled before is used again.
build_image() { # stage
  local cargo_home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$env/image-target"
  b bud --isolation chroot --pull-never -f deploy/Dockerfile --ignorefile .dockerignore --target "$1" -t "$1" \
    --build-arg RUST_IMAGE=localhost/rust-base --build-arg LTO=off \
    --volume "$(rustc --print sysroot):/usr/local/rust:ro" --volume "$cargo_home/registry:/usr/local/cargo/registry" \
    --volume "$env/image-target:/src/target" . >"$run/build-$1.log" 2>&1 || { tail -n 30 "$run/build-$1.log" >&2; fail "the image $1 does not build"; }
}

# Nothing but the program, small, and not root's.
check_image() { # stage
  local container=$1 mount files user bytes
  container=$(b from --pull-never "localhost/$1")
  mount=$(b mount "$container")
  files=$(cd "$mount" && find . -type f)
  [[ $files == "./$1" ]] || fail "the image $1 has other files: $files"
  bytes=$(stat -c %s "$mount/$1")
  [[ $bytes -lt $image_bytes_max ]] || fail "the image $1 has $bytes bytes"
  user=$(b inspect --format '{{.OCIv1.Config.User}}' "$container")
  [[ $user == 65532:65532 ]] || fail "the image $1 runs as $user"
  echo "deploy: image $1, $((bytes >> 10)) KiB, user $user"
  containers[$1]=$container
}

# Runs a container in the background; `programs` knows the program itself, `pids` who started it.
start() { # name, pattern of its command line, container arguments...
  local what=$1 pattern=$2 until=$((SECONDS + patience_s))
  shift 2
  buildah --root "$env/storage" --runroot "$env/runroot" --storage-driver vfs run --isolation chroot \
    --volume "$run/resolv.conf:/etc/resolv.conf:ro" "$@" >"$run/$what.log" 2>&1 &
  pids[$what]=$!
  until programs[$what]=$(pgrep -u 65532 -f "^/$pattern"); do
    [[ $SECONDS -lt $until ]] && kill -0 "${pids[$what]}" 2>/dev/null || { cat "$run/$what.log" >&2; fail "$what does not start as user 65532"; }
    sleep 0.2
  done
}

wait_for() { # what, command...
  local what=$1 until=$((SECONDS + patience_s))
  shift
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $until ]] || { tail -n 20 "$run"/*.log >&2; fail "no $what within $patience_s s"; }
    sleep 0.2
  done
}

get() {
  "$bin/python" -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"
}

stop() { # name, wanted exit code
  local code=0
  kill -TERM "${programs[$1]}"
  timeout 15 tail --pid="${pids[$1]}" -f /dev/null || fail "$1 does not end within 15 s"
  wait "${pids[$1]}" || code=$?
  [[ $code == "$2" ]] || { tail -n 20 "$run/$1.log" >&2; fail "$1 ended with $code"; }
  unset "pids[$1]" "programs[$1]"
}

check_running() {
  local feed public admin
  "$bin/python" "$here/deploy/name_server.py" "$dns" "$name" >"$run/dns.log" 2>&1 &
  pids[dns]=$!
  wait_for "name server" grep -q ready "$run/dns.log"
  echo "nameserver $dns" >"$run/resolv.conf"
  start feed-sim 'feed-sim serve --listen 127.0.0.1:0 --rate 2000' "${containers[feed-sim]}" -- /feed-sim serve --listen 127.0.0.1:0 --rate 2000
  wait_for "feed" grep -q 'serving on' "$run/feed-sim.log"
  feed=$(sed -n 's|.*serving on 127.0.0.1:\([0-9]*\).*|\1|p' "$run/feed-sim.log")
  # Within the container's own network it listens on the ports of its environment; here the network is the machine's.
  start gateway "gateway --feed tcp://$name:$feed" --env GATEWAY_PUBLIC_LISTEN=127.0.0.1:0 --env GATEWAY_ADMIN_LISTEN=127.0.0.1:0 \
    "${containers[gateway]}" -- /gateway --feed "tcp://$name:$feed"
  wait_for "gateway" grep -q '^admin on' "$run/gateway.log"
  public=$(sed -n 's|^listening on http://||p' "$run/gateway.log")
  admin=$(sed -n 's|^admin on http://||p' "$run/gateway.log")
  wait_for "readiness, with a feed found by DNS" get "http://$admin/readyz"
  timeout 60 "$target/release/loadtest" run --url "ws://$public/v2" --clients 20 --symbols 5 --duration 3s >"$run/loadtest.log" 2>&1 ||
    { cat "$run/loadtest.log" >&2; fail "the gateway of the image does not serve the load generator"; }
  grep -E '^(result|messages)' "$run/loadtest.log"
  stop gateway 0
  kill -KILL "${programs[feed-sim]}"
}

[[ $(id -u) == 0 ]] || fail "run this as root: the image is built in a chroot"
mkdir -p "$env"
exec 9>"$env/lock"
flock 9
install
for program in gateway loadtest; do
  [[ -x $target/release/$program ]] || cargo build --release -p "$program" || fail "$program does not build"
done
run=$(mktemp -d "$env/run.XXXXXX")
declare -A containers=()

check_unit
check_files
make_base
b rm --all >/dev/null
for stage in feed-sim gateway; do
  build_image "$stage"
  check_image "$stage"
done
check_running
b rm --all >/dev/null
echo "deploy: unit, Dockerfile, compose file and image are right, $SECONDS s"
trap - EXIT
{ cleanup; wait; } 2>/dev/null
rm -r "$run"
