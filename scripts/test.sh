#!/usr/bin/env bash
# Run the tests.
#
# Usage: scripts/test.sh [--fast | --all] [-h]
#
#   --fast   only tests that need neither root nor a running service: linters, documents, scripts
#   --all    all tests, including the slow ones that inject faults; four at a time, since they mostly wait
#
# Without an option, all tests but the slow ones run. They rehearse the tutorial, which needs root on Linux.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."

case $# in 0 | 1) ;; *) set -- "$*" ;; esac
workers=auto
case ${1:-} in
  '') packages=tests marks='not slow' ;;
  --fast) packages=minimal marks='not slow and not rehearsal and not services' ;;
  --all) packages=slow marks='' workers=4 ;;
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' scripts/test.sh
    exit 0
    ;;
  *)
    printf 'unexpected argument %q: see scripts/test.sh -h\n' "${1:0:60}" >&2
    exit 2
    ;;
esac
# common.sh is not sourced here: it would set variables that the tests need unset.
scripts/dev/packages.sh "$packages"
venv=$(scripts/dev/venv.sh dev)
# Scripts that the tests call install these groups on first use. Installing them now keeps that out of the tests' output.
scripts/dev/venv.sh scripts >/dev/null
[[ $packages == minimal ]] || scripts/dev/venv.sh rehearsal >/dev/null
# Tests that need the rehearsal's machine run in sequence in one worker (tests/conftest.py), in parallel with the others.
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m pytest --numprocesses "$workers" --dist load -m "$marks"
