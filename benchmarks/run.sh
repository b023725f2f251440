#!/usr/bin/env bash
# Measure the tutorial in a rehearsal, compare it with its floors, and make a table and a picture.
#
# Usage: benchmarks/run.sh [--quick] [--only PARTS] [--results DIRECTORY]
#
#   --quick     run everything once, at small sizes, to check that it works
#   --only      a comma-separated list of rehearsal, application, cold, delivery, deploying, rollouts, second_runs, scale;
#               the directory's results of other parts are kept
#   --results   the directory for results.json, table.md and picture.svg; benchmarks/results by default
#
# Like the rehearsal, it needs root on Debian or Ubuntu. Run nothing else meanwhile.
# A kept rehearsal is used and left running; otherwise one is started and stopped.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."

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
venv=$(scripts/dev/venv.sh benchmarks)
"$venv/bin/python" -m benchmarks ${arguments[@]+"${arguments[@]}"}
"$venv/bin/python" -m benchmarks.picture "$results"
