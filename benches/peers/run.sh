#!/usr/bin/env bash
# Gets the systems, builds what is to be built, and measures: restante beside them under one client model. README.md says
# what and how. What cannot be had is skipped with a reason; everything that was started is ended, and its data removed.
#
#   benches/peers/run.sh [--restante PATH] [--directory DIR] [--no-install] [--no-nostr] [options of the bench]
#
# Without --restante it builds this repository's. The bench's options: --rounds N, --secs N, --connections N,N, --only NAME,…,
# --slow NAME,…, --json.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
built="$here/target"
exec </dev/null

restante="" directory="/var/tmp" install=1 nostr=1 options=()
while (($#)); do
  case $1 in
    --restante) restante="$(realpath -- "$2")"; shift ;;
    --directory) directory="$(realpath -- "$2")"; shift ;;
    --no-install) install=0 ;;
    --no-nostr) nostr=0 ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) options+=("$1") ;;
  esac
  shift
done

say() { printf 'peers: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Debian's packages; their services are not started.
packages() {
  local missing=() package policy=/usr/sbin/policy-rc.d made=0 code=0
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    say "not root, so these are not installed: ${missing[*]}"
    return 0
  fi
  say "installing ${missing[*]}"
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=1
  fi
  apt-get update -qq >&2 || say "the lists of packages could not be updated"
  # One by one: what cannot be had is not in the others' way.
  for package in "${missing[@]}"; do
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>"$scratch/apt" || code=$?
    ((code == 0)) || say "$package cannot be installed: $(tail -n 1 "$scratch/apt")"
    code=0
  done
  if ((made)); then rm -f "$policy"; fi
}

# nostr-rs-relay from crates.io, with its own lock but for one crate: its release of `time` is not taken by Rust from 1.80 on.
nostr_relay() {
  local version=0.8.12 source="$built/nostr-source" archive
  [[ -x $built/nostr-rs-relay ]] && return 0
  has protoc || { say "nostr-rs-relay is not built: no protoc (package protobuf-compiler)"; return 0; }
  say "building nostr-rs-relay $version, once; this takes some minutes"
  # Downloads it.
  (cd "$built" && cargo info --quiet "nostr-rs-relay@$version" >/dev/null) || { say "nostr-rs-relay cannot be had from crates.io"; return 0; }
  archive="$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "nostr-rs-relay-$version.crate" | head -n 1)"
  rm -rf "$source"
  mkdir -p "$source"
  tar -xzf "$archive" -C "$source" --strip-components=1
  if (
    cd "$source"
    cargo update --quiet time@0.3.25 --precise 0.3.36 &&
      CARGO_TARGET_DIR="$built/nostr-build" cargo build --quiet --release --locked --bin nostr-rs-relay
  ) >&2; then
    cp "$built/nostr-build/release/nostr-rs-relay" "$built/nostr-rs-relay"
    rm -rf "$built/nostr-build" "$source"
  else
    say "nostr-rs-relay cannot be built"
  fi
}

has cargo || { say "error: the bench needs Rust"; exit 1; }
has setpriv || { say "error: the bench needs setpriv (package util-linux)"; exit 1; }
mkdir -p "$built"
scratch="$(mktemp -d "$directory/restante-peers-XXXXXX")"
# Again, where somebody who is being killed still writes.
trap 'rm -rf "$scratch" 2>/dev/null || { sleep 1; rm -rf "$scratch"; }' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ((install)) && has apt-get; then
  packages redis-server postgresql rabbitmq-server nats-server mosquitto
  if ((nostr)) && [[ ! -x $built/nostr-rs-relay ]]; then packages protobuf-compiler libssl-dev pkg-config; fi
fi
if ((nostr)); then nostr_relay; fi
if [[ -x $built/nostr-rs-relay ]] && ((nostr)); then options+=(--nostr "$built/nostr-rs-relay"); fi

if cc -O2 -Wall -Wextra -shared -fPIC -o "$built/slow_fsync.so" "$here/slow_fsync.c" -ldl; then
  options+=(--shim "$built/slow_fsync.so")
else
  say "nothing is measured with a slow fsync: cc does not build it"
fi
if [[ -z $restante ]]; then
  say "building restante"
  (cd "$here/../.." && CARGO_TARGET_DIR="$PWD/target" cargo build --release --locked --quiet) >&2
  restante="$here/../../target/release/restante"
fi
say "building the bench"
(cd "$here" && CARGO_TARGET_DIR="$built" cargo build --release --locked --quiet) >&2

"$built/release/restante-peers" --restante "$restante" --dir "$scratch" "${options[@]}"
