#!/usr/bin/env bash
# Run the tests.
#
# Usage: scripts/test.sh [--fast | --all] [-h]
#
#   --fast   only tests that need neither root nor a running service: linters, documents, scripts; about a minute
#   --all    everything, including the slow fault tests, four at a time because they mostly wait
#
# Without an option: everything but the slow tests. This rehearses the tutorial, which needs root on Linux.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."

case $# in 0 | 1) ;; *) set -- "$*" ;; esac
workers=auto
case ${1:-} in
  '') packages=tests marks='not slow' ;;
  --fast) packages=minimal marks='not slow and not rehearsal and not services' ;;
  --all) packages=tests marks='' workers=4 ;;
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' scripts/test.sh
    exit 0
    ;;
  *)
    printf 'unexpected argument %q: see scripts/test.sh -h\n' "${1:0:60}" >&2
    exit 2
    ;;
esac
# Does not source common.sh, because the tests need an environment without settings.
scripts/dev/packages.sh "$packages"
venv=$(scripts/dev/venv.sh requirements-dev.txt)
# Create the environment that scripts/authorize-role.sh would create in the middle of a test.
scripts/dev/venv.sh requirements-scripts.txt >/dev/null
# Tests that need the rehearsal run one after another in one process (tests/conftest.py), in parallel with the others.
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m pytest --numprocesses "$workers" --dist load -m "$marks"
