#!/usr/bin/env bash
# Run several commands at the same time, and fail if one of them fails.
#
# Usage: scripts/build/together.sh NAME COMMAND [NAME COMMAND]...
#
# Each line of output begins with the name of the command that it is from. A command is bash, and stops at its first failure.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac
(($# > 0 && $# % 2 == 0)) || refuse "give each command a name: see scripts/build/together.sh -h"

run() { # run NAME COMMAND
  local line
  bash -euo pipefail -c "$2" 2>&1 </dev/null | while IFS= read -r line || [[ -n $line ]]; do printf '%s | %s\n' "$1" "$line"; done
}

names=() jobs=() failed=()
while (($#)); do
  run "$1" "$2" &
  names+=("$1") jobs+=("$!")
  shift 2
done
for number in "${!jobs[@]}"; do
  wait "${jobs[number]}" || failed+=("${names[number]}")
done
((${#failed[@]} == 0)) || die "failed: ${failed[*]}: see the errors above"
