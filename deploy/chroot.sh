#!/usr/bin/env bash
# Replays the Dockerfile where there is no container engine, as root: lays out a root directory with what its last stage has
# and nothing else, makes it read-only, runs the entry point in it as the image's user, and tries what an operator does.
#
#   deploy/chroot.sh            builds as the Dockerfile's first stage does (in target/image), then replays the last
#   deploy/chroot.sh BINARY     takes this binary instead; one that is not static brings its libraries along
#
# What it cannot replay: the base image of the first stage (this machine's Rust stands in), and the engine itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ((EUID != 0)); then
  echo "deploy/chroot.sh: a chroot needs root" >&2
  exit 1
fi
# In a mount namespace of its own, where there may be one: its mounts end with it.
if [[ -z ${REPLAY_MOUNTS+set} ]]; then
  if unshare --mount true 2>/dev/null; then
    REPLAY_MOUNTS=yes exec unshare --mount "$0" "$@"
  fi
  REPLAY_MOUNTS=
fi

binary=${1:-}
here=$PWD
scratch="$(mktemp -d)"
root="$scratch/root"
data="$scratch/volume"
relay=
# env looks for it after it has emptied the environment.
chroot="$(command -v chroot)"

finish() {
  local code=$?
  if [[ -n $relay ]]; then kill -KILL "$relay" 2>/dev/null || true; fi
  if ((code)) && [[ -s $scratch/stderr ]]; then sed 's/^/  its stderr: /' "$scratch/stderr" >&2; fi
  if [[ -n $REPLAY_MOUNTS ]]; then umount -R "$root" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap finish EXIT

fail() {
  echo "deploy/chroot.sh: $*" >&2
  exit 1
}

ok() { printf 'ok: %s\n' "$*"; }

# The instructions, a line each: comments gone, continued lines joined.
instructions() { sed -e '/^[[:space:]]*#/d' Dockerfile | sed -e ':again' -e '/\\$/N; s/\\\n[[:space:]]*/ /; t again' | sed '/^[[:space:]]*$/d'; }

# ["a", "b"] as words, a line each.
words() { tr -d '[]"' <<<"$1" | tr ',' '\n' | sed 's/^ *//; s/ *$//; /^$/d'; }

# A path of the build stage, here: /build and /image lie in the scratch directory.
staged() {
  case $1 in
    /*) printf '%s' "$scratch$1" ;;
    *) printf '%s' "$scratch$workdir/$1" ;;
  esac
}

# COPY of the build stage, from the clone.
copy_in() {
  local arguments=("$@") target
  target="$(staged "${arguments[-1]}")"
  if [[ $target == */ ]]; then mkdir -p "$target"; fi
  for source in "${arguments[@]:0:${#arguments[@]}-1}"; do
    if [[ -d $source ]]; then
      mkdir -p "$target" && cp -R "$source/." "$target/"
    else
      cp "$source" "$target"
    fi
  done
}

# RUN of the build stage, in its directory, without what the caller tells cargo about places.
run() {
  echo "  RUN $1"
  (cd "$scratch$workdir" && env -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET sh -euc "${1//\/image/$scratch/image}" </dev/null)
}

# COPY --from of the last stage.
copy_out() {
  local owner=0:0 arguments=() word
  for word in "$@"; do
    case $word in
      --chown=*) owner=${word#--chown=} ;;
      --*) ;;
      *) arguments+=("$word") ;;
    esac
  done
  ((${#arguments[@]} == 2)) || fail "this COPY is not understood: $*"
  mkdir -p "$root$(dirname "${arguments[1]}")"
  cp -R "$scratch${arguments[0]}" "$root${arguments[1]}"
  chown -R "$owner" "$root${arguments[1]}"
}

workdir=/
stage=0
environment=()
user=0:0
volume=
port=
health=()
entry=()
arguments=()
mkdir -p "$root"
stages="$(grep -c '^FROM ' Dockerfile)"
while read -r instruction rest; do
  read -ra given <<<"$rest"
  if [[ $instruction == FROM ]]; then
    stage=$((stage + 1))
    if ((stage == stages)); then
      [[ $rest == scratch ]] || fail "the last stage is not empty: $rest"
      if [[ -n $binary ]]; then
        install -D -m 0755 "$binary" "$scratch/image/restante"
        install -d -m 0700 "$scratch/image/data"
      fi
    fi
  elif ((stage < stages)); then
    [[ -z $binary ]] || continue
    case $instruction in
      WORKDIR)
        workdir=$rest
        mkdir -p "$scratch$workdir" "$here/target/image"
        # What was built stays in the clone, so that a second replay is quick.
        ln -s "$here/target/image" "$scratch$workdir/target"
        ;;
      COPY) copy_in "${given[@]}" ;;
      RUN) run "$rest" ;;
      *) fail "the build stage has an instruction that is not understood: $instruction" ;;
    esac
  else
    case $instruction in
      COPY) copy_out "${given[@]}" ;;
      ENV) environment+=("$rest") ;;
      USER) user=$rest ;;
      VOLUME) volume=$rest ;;
      EXPOSE) port=$rest ;;
      HEALTHCHECK) mapfile -t health < <(words "${rest#*CMD}") ;;
      ENTRYPOINT) mapfile -t entry < <(words "$rest") ;;
      CMD) mapfile -t arguments < <(words "$rest") ;;
      STOPSIGNAL) [[ $rest == SIGTERM ]] || fail "the image is stopped by $rest" ;;
      *) fail "the last stage has an instruction that is not understood: $instruction" ;;
    esac
  fi
done < <(instructions)

[[ -n $volume && -n $port && ${#health[@]} -gt 0 && ${#entry[@]} -gt 0 ]] || fail "the Dockerfile lacks VOLUME, EXPOSE, HEALTHCHECK or ENTRYPOINT"
[[ $user != 0* && $user != root* ]] || fail "the image runs as root"
printf '%s\n' "${environment[@]}" | grep -q ":$port$" || fail "the image does not listen on the port that it exposes"

if ldd "$root${entry[0]}" >/dev/null 2>&1 && ! ldd "$root${entry[0]}" | grep -q 'statically linked'; then
  [[ -n $binary ]] || fail "what the Dockerfile builds is not static"
  echo "note: $binary is not static, as the image's is; its libraries go along"
  ldd "$root${entry[0]}" | grep -oE '/[^ ]+' | while read -r library; do install -D -m 0755 "$library" "$root$library"; done
else
  ok "the binary is static, $(($(stat -c %s "$root${entry[0]}") / 1024)) KiB"
fi

# What every engine puts into every container; of /proc and /sys nothing is needed.
devices=(null zero full random urandom)
mkdir "$root/dev"
for device in "${devices[@]}"; do : >"$root/dev/$device"; done

# A fresh volume takes owner, mode and content from the image.
cp -a "$root$volume" "$data"
if [[ -n $REPLAY_MOUNTS ]] && mount --bind "$root" "$root" 2>/dev/null; then
  mount --bind "$data" "$root$volume"
  for device in "${devices[@]}"; do mount --bind "/dev/$device" "$root/dev/$device"; done
  mount -o remount,bind,ro "$root"
  ok "the root is mounted read-only, and $volume is a volume"
else
  REPLAY_MOUNTS=
  data="$root$volume"
  for device in "${devices[@]}"; do cp -a --remove-destination "/dev/$device" "$root/dev/"; done
  ok "nothing but $volume is writable for $user (this machine allows no mounts)"
fi

# A port that nobody answers on: 8484 may be in use on this machine.
free=$port
while (: <"/dev/tcp/127.0.0.1/$free") 2>/dev/null; do free=$((20000 + RANDOM)); done

# As the engine would: the image's environment and what its -e gives, the image's user, nothing else.
inside() {
  call=(env -i "${environment[@]//:$port/:$free}" "${extra[@]}" "$chroot" --userspec="$user" --groups= "$root" "$@")
}

# try CODE COMMAND…: runs a command of the image and wants this exit code.
try() {
  local wanted=$1 code=0
  inside "${@:2}"
  timeout 30 "${call[@]}" >"$scratch/stdout" 2>"$scratch/stderr" </dev/null || code=$?
  ((code == wanted)) || fail "${*:2} ended with $code, not $wanted"
}

start() {
  inside "${entry[@]}" "${arguments[@]}"
  "${call[@]}" >"$scratch/banner" 2>"$scratch/stderr" </dev/null &
  relay=$!
  exec 3<"$scratch/banner"
  read -r -t 60 line <&3 || fail "it did not start"
  echo "  it says: $line"
}

stop() {
  local code=0
  kill -TERM "$relay"
  timeout 20 tail --pid="$relay" -f /dev/null || fail "it was still there 20 seconds after SIGTERM"
  wait "$relay" || code=$?
  relay=
  exec 3<&-
  ((code == 0)) || fail "it ended with $code after SIGTERM"
}

mkfifo "$scratch/banner"
extra=()
try 78 "${entry[@]}" "${arguments[@]}"
grep -q origins "$scratch/stderr" || fail "it does not say that the origins are missing"
ok "without an origin it says so and ends with 78"

extra=(RESTANTE_SERVER__ORIGINS=https://relay.example:443)
try 1 "${health[@]}"
ok "the health check says that no relay runs"

for round in first second; do
  start
  uids="$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$relay/status")"
  id=${user%%:*}
  [[ $uids == "$id $id $id $id" ]] || fail "it does not run as $user but as $uids"
  try 0 "${health[@]}"
  try 0 "${entry[@]}" stats --json
  ok "$round start as $user: healthy, and stats answer"
  stop
  ok "SIGTERM ends it with 0"
done

loose="$(find "$data" -mindepth 1 \( -perm /077 -o ! -uid "$id" \))"
[[ -z $loose ]] || fail "others may touch these: $loose"
ok "everything in $volume is the relay's alone"
