#!/usr/bin/env bash
# Run the tests.
#
# Usage: scripts/test.sh [--fast | --all] [-h]
#
#   --fast   what needs neither root nor a cluster: linters, documents, scripts; about a minute
#   --all    everything, also the slow tests of faults
#
# Without an option: all but the slow ones. They rehearse the tutorial, which needs root on Linux.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib.sh
begin '--fast --all' "$@"

marks='not slow' packages=tests
if given --all "$@"; then marks=''; fi
if given --fast "$@"; then marks='not slow and not rehearsal' packages=minimal; fi
scripts/packages.sh "$packages"
venv=$(scripts/venv.sh requirements-dev.txt)
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m pytest -m "$marks"
