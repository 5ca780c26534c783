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

skip() {
  echo "SKIPPED: $1"
  exit 0
}

command -v python3 >/dev/null 2>&1 || skip "there is no python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip "$(python3 --version) is older than 3.10"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1

python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1 || skip "no virtual environment: $(tail -n 1 "$scratch/log")"
python="$scratch/venv/bin/python"
"$python" -m pip install --quiet --only-binary :all: --requirement requirements.txt >"$scratch/log" 2>&1 ||
  skip "pip cannot install $(tr '\n' ' ' <requirements.txt): $(tail -n 1 "$scratch/log")"

echo "unit tests: the vectors"
"$python" -m unittest test_vectors
if [[ -n $binary ]]; then
  echo "live: a relay and the Rust client"
  TMPDIR="$scratch" RESTANTE="$binary" "$python" -m unittest live
else
  echo "live: not run, no binary was given"
fi
