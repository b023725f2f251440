#!/usr/bin/env bash
# Measure the tutorial beside its floors, in a rehearsal, and make a table and a picture.
#
# Usage: benchmarks/run.sh [--quick] [--only PARTS] [--results DIRECTORY]
#
#   --quick     everything once and small, to see that it works
#   --only      some of rehearsal, application, delivery, rollouts, second_runs, scale, with commas between
#   --results   where results.json, table.md and picture.svg go; benchmarks/results if not given
#
# Needs what the rehearsal needs: root on Debian or Ubuntu. Let nothing else run meanwhile.
# A rehearsal that is kept on this machine is used and left as it is; otherwise one is started and ended.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."

results=benchmarks/results arguments=("$@")
while (($#)); do
  case $1 in
    --quick) ;;
    --only | --results)
      [[ -n ${2:-} ]] || { echo "$1 wants a value: see benchmarks/run.sh -h" >&2 && exit 2; }
      [[ $1 == --only ]] || results=$2
      shift
      ;;
    -h | --help)
      awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' benchmarks/run.sh
      exit 0
      ;;
    *)
      printf 'unexpected argument %q: see benchmarks/run.sh -h\n' "${1:0:60}" >&2
      exit 2
      ;;
  esac
  shift
done
scripts/dev/packages.sh benchmarks
venv=$(scripts/dev/venv.sh requirements-dev.txt)
drawing=$(scripts/dev/venv.sh requirements-benchmarks.txt)
"$venv/bin/python" -m benchmarks ${arguments[@]+"${arguments[@]}"}
"$drawing/bin/python" -m benchmarks.picture "$results"
