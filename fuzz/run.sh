#!/usr/bin/env bash
# One fuzz target on stable Rust, without a sanitizer: there is no unsafe code of ours to watch, and twice as many runs.
#
#   fuzz/run.sh TARGET RUNS [OPTIONS OF LIBFUZZER…]
set -euo pipefail

(($# >= 2)) || { echo "usage: fuzz/run.sh TARGET RUNS [OPTIONS…]" >&2; exit 2; }
target=$1 runs=$2
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found="fuzz/corpus/$target"
mkdir -p "$found"
if [[ $target == frames ]]; then
  seeds=tests/it/frames/corpus
else
  seeds="$(mktemp -d)"
  trap 'rm -rf "$seeds"' EXIT
  python3 fuzz/seeds.py "tests/it/fuzz/corpus/$target" "$seeds"
fi
RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none "$target" "$found" "$seeds" -- -runs="$runs" -max_len=4096 "$@"
