#!/usr/bin/env bash
# Make a Python environment with the packages of a pinned requirements file, once, and print where it is.
#
# Usage: scripts/dev/venv.sh FILE
#
# It lies under ${XDG_CACHE_HOME:-~/.cache}/eks-rehearsal, named after the file's content and the Python version.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
case ${1:-} in
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' scripts/dev/venv.sh
    exit 0
    ;;
esac
[[ $# == 1 && -f $1 ]] || {
  printf 'name one requirements file, not %q: see scripts/dev/venv.sh -h\n' "$*" >&2
  exit 2
}
type -P python3 >/dev/null || {
  echo "python3 is not on PATH: install Python 3.11 or later" >&2
  exit 1
}
exec python3 scripts/dev/make_venv.py "$1"
