#!/usr/bin/env bash
# Make a Python environment with a dependency group of pyproject.toml, once, and print its path.
#
# Usage: scripts/dev/venv.sh GROUP
#
# It is under ${XDG_CACHE_HOME:-~/.cache}/eks-rehearsal, named after the group, uv.lock's content and the Python version.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
case ${1:-} in
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' scripts/dev/venv.sh
    exit 0
    ;;
esac
export LC_ALL=C
groups=$(sed -n '/^\[dependency-groups]/,/^\[tool/s/^\([a-z]*\) = \[.*/\1/p' pyproject.toml)
[[ $# == 1 && $1 =~ ^[a-z]+$ && $'\n'$groups$'\n' == *$'\n'"$1"$'\n'* ]] || {
  printf 'name one of the groups %s, not %q: see scripts/dev/venv.sh -h\n' "${groups//$'\n'/, }" "$*" >&2
  exit 2
}
type -P python3 >/dev/null || {
  echo "python3 is not on PATH: install Python 3.11 or later" >&2
  exit 1
}
exec python3 scripts/dev/make_venv.py "$1"
