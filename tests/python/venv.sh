#!/usr/bin/env bash
# A virtual environment with what the caller's requirements.txt pins, for scripts to source from the directory where that lies:
# sets `python`, and `scratch`, a directory that is removed at the end. Exits with 0 and the word SKIPPED where Python is
# missing or its packages cannot be installed.

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
