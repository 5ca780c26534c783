#!/usr/bin/env bash
# A live relay against crates/relay/src/api/openapi.yaml: every operation once as it should be, and then what schemathesis makes up of its
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
# shellcheck source=tests/python/venv.sh
source ../python/venv.sh

TMPDIR="$scratch" RESTANTE="$binary" "$python" drive.py "${2:-3}" "${3:-7}"
