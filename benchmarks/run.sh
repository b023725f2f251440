#!/usr/bin/env bash
# Measure the tutorial in a rehearsal, compared with the least that each step can take; write a table and a picture.
#
# Usage: benchmarks/run.sh [--quick] [--only PARTS] [--results DIRECTORY]
#
#   --quick     measure everything once, on a small scale, to see that it works
#   --only      comma-separated parts: rehearsal, application, delivery, rollouts, second_runs, scale
#   --results   directory for results.json, table.md and picture.svg; benchmarks/results by default
#
# Needs root on Debian or Ubuntu, like the rehearsal. Run nothing else at the same time.
# Uses a kept rehearsal and leaves it running; otherwise starts one and stops it.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."

results=benchmarks/results arguments=("$@")
while (($#)); do
  case $1 in
    --quick) ;;
    --only | --results)
      [[ -n ${2:-} ]] || { echo "$1 needs a value: see benchmarks/run.sh -h" >&2 && exit 2; }
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
