#!/bin/sh
# Comes first on PATH for every program (tests/support/tracing.py): records the point SCRIPT:PROGRAM:N, then becomes the
# program. If KILL_AT is "before POINT" or "after POINT", kills the whole process group there; if FAIL_AT is POINT, fails
# without running the program. Forks only when it kills.
# shellcheck disable=SC2154 # its variables: tests/support/tracing.py
program=${0##*/} number=1 caller=
read -r caller <"/proc/$PPID/cmdline"
case $caller in
  *scripts/*.sh*) caller=${caller#*scripts/} caller=${caller%%.sh*} caller=${caller##*/} ;;
  *) caller=inline ;; # bash -c
esac
point=$caller:$program
set -C # so that each number is used once
until { true >"$TRACE/$point:$number"; } 2>/dev/null; do number=$((number + 1)); done
set +C
point=$point:$number
echo "$point" >>"$TRACE.order"
PATH=$TRACED_PATH
if [ "$FAIL_AT" = "$point" ]; then echo "planted failure at $point" >&2 && exit 1; fi
if [ "$KILL_AT" = "before $point" ]; then kill -KILL 0; fi
if [ "$KILL_AT" != "after $point" ]; then exec "$program" "$@"; fi
"$program" "$@"
kill -KILL 0
