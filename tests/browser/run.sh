#!/usr/bin/env bash
# A real browser: a page with a client in JavaScript (page/), chromium without a head, a live relay and the Rust client.
# Needs no network but apt, which brings chromium where it is missing. Everything is made in a directory that is removed at
# the end, and every process is in one group that is killed at the end.
#
#   tests/browser/run.sh path/to/restante
#
# Ends with 0 and the word SKIPPED where there is no Python or no chromium that could be had.
set -euo pipefail

(($# == 1)) || { echo "usage: run.sh path/to/restante" >&2; exit 2; }
binary="$(realpath -- "$1")"
[[ -x $binary ]] || { echo "run.sh: $1 is not a program" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"

skip() {
  echo "SKIPPED: $1"
  exit 0
}

has() { command -v "$1" >/dev/null 2>&1; }

has python3 || skip "there is no python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip "$(python3 --version) is older than 3.10"

scratch="$(mktemp -d)"
group=""
finish() {
  if [[ -n $group ]]; then kill -KILL -- "-$group" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! has chromium; then
  has apt-get || skip "there is no chromium, and no apt-get to install it"
  ((EUID == 0)) || skip "there is no chromium, and only root can install it"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } </dev/null >"$scratch/log" 2>&1 ||
    skip "apt-get cannot install chromium: $(tail -n 1 "$scratch/log")"
fi
version="$(HOME="$scratch" chromium --version 2>/dev/null | grep -oE '[0-9]+' | head -n 1 || true)"
# The first with Ed25519, X25519 and Uint8Array.fromBase64.
((${version:-0} >= 140)) || skip "chromium ${version:-of no version} is older than 140"

# It takes some seconds; the limit only keeps it from hanging. timeout puts itself and all below it into one group.
TMPDIR="$scratch" RESTANTE="$binary" PYTHONDONTWRITEBYTECODE=1 timeout --kill-after=10 120 python3 drive.py &
group=$!
wait "$group"
