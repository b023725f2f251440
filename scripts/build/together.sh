#!/usr/bin/env bash
# Run several commands in parallel, and fail if any of them fails.
#
# Usage: scripts/build/together.sh NAME COMMAND [NAME COMMAND]...
#
# Prefixes each line of output with the name of its command. A command is bash code, and stops at its first failure.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac
(($# && $# % 2 == 0)) || refuse "give each command a name: see scripts/build/together.sh -h"

run() { # run NAME COMMAND
  local line
  bash -euo pipefail -c "$2" 2>&1 </dev/null | while IFS= read -r line || [[ -n $line ]]; do printf '%s | %s\n' "$1" "$line"; done
}

stop() { # ends the commands with all of their processes
  local job
  set +o monitor # and its messages
  trap '' HUP INT TERM
  for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
  wait
  die "stopped, with its commands"
}

names=() jobs=() failed=()
set -o monitor # gives each command a process group
trap stop HUP INT TERM
while (($#)); do
  run "$1" "$2" &
  names+=("$1") jobs+=("$!")
  shift 2
done
for number in "${!jobs[@]}"; do
  wait "${jobs[number]}" || failed+=("${names[number]}")
done
((${#failed[@]} == 0)) || die "failed: ${failed[*]}: see the errors above"
end
