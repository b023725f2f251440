#!/usr/bin/env bash
# Change the tutorial's Python in each small way that cosmic-ray knows, one at a time, and see whether its tests notice.
#
# Usage: scripts/dev/mutate.sh [-h] [WORD...]
#
#   WORD   only files whose names have it: aws_auth, render, stack_parameters, or cfn for the template's function
#
# Exits with 1 if a change stays unnoticed that tests/faults/planted/equivalents.toml does not explain.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
case ${1:-} in -h | --help)
  awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' scripts/dev/mutate.sh
  exit 0
  ;;
esac
venv=$(scripts/dev/venv.sh requirements-dev.txt)
cosmic_ray=$(scripts/dev/venv.sh requirements-mutation.txt)
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m tests.faults.planted.mutate "$cosmic_ray/bin/python" "$@"
