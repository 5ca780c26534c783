#!/usr/bin/env bash
# A live relay against src/api/openapi.yaml: every operation once as it should be, and then what schemathesis makes up of its
# schemas, good and bad, with a session where one is needed. Any server error, and any reply that is not as described, is a
# failure. Installs what requirements.txt pins into a virtual environment that is removed at the end.
#
#   tests/openapi/run.sh path/to/restante [cases for each operation [seed]]
#
# Ends with 0 and the word SKIPPED where Python is missing or its packages cannot be installed.
set -euo pipefail

(($# >= 1 && $# <= 3)) || { echo "usage: run.sh path/to/restante [cases [seed]]" >&2; exit 2; }
binary="$(realpath -- "$1")"
[[ -x $binary ]] || { echo "run.sh: $1 is not a program" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"

skip() {
  echo "SKIPPED: $1"
  exit 0
}

command -v python3 >/dev/null 2>&1 || skip "there is no python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip "$(python3 --version) is older than 3.10"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1

python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1 || skip "no virtual environment: $(tail -n 1 "$scratch/log")"
python="$scratch/venv/bin/python"
"$python" -m pip install --quiet --only-binary :all: --requirement requirements.txt >"$scratch/log" 2>&1 ||
  skip "pip cannot install $(tr '\n' ' ' <requirements.txt): $(tail -n 1 "$scratch/log")"

TMPDIR="$scratch" RESTANTE="$binary" "$python" drive.py "${2:-3}" "${3:-7}"
