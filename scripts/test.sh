#!/usr/bin/env bash
# Run the tests.
#
# Usage: scripts/test.sh [--fast | --all] [-h]
#
#   --fast   what needs neither root nor a running service: linters, documents, scripts; about a minute
#   --all    everything, also the slow tests of faults, four at a time since they mostly wait
#
# Without an option: all but the slow ones. They rehearse the tutorial, which needs root on Linux.
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
# Not lib.sh: the tests look at what the settings are without any in the environment.
scripts/dev/packages.sh "$packages"
venv=$(scripts/dev/venv.sh requirements-dev.txt)
# What scripts/authorize-role.sh makes on its first use; made here, it is in no test's output.
scripts/dev/venv.sh requirements-scripts.txt >/dev/null
# Tests that need the rehearsal's machine run one after the other in one process (tests/conftest.py), the others beside them.
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m pytest --numprocesses "$workers" --dist load -m "$marks"
