#!/usr/bin/env bash
# The second implementation: its unit tests, which are the vectors, and then, where a binary is given, its talk with a live
# relay and the Rust client. Installs what requirements.txt pins into a virtual environment that is removed at the end.
#
#   tests/python/run.sh [path/to/restante]
#
# Ends with 0 and the word SKIPPED where Python is missing or its packages cannot be installed.
set -euo pipefail

binary=""
if (($#)); then
  binary="$(realpath -- "$1")"
  [[ -x $binary ]] || { echo "run.sh: $1 is not a program" >&2; exit 2; }
fi
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/python/venv.sh
source ./venv.sh

echo "unit tests: the vectors"
"$python" -m unittest test_vectors
if [[ -n $binary ]]; then
  echo "live: a relay and the Rust client"
  TMPDIR="$scratch" RESTANTE="$binary" "$python" -m unittest live
else
  echo "live: not run, no binary was given"
fi
