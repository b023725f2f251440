#!/bin/sh
# Stands on PATH before every program (tests/support/tracing.py): notes the point SCRIPT:PROGRAM:N of the trace, then is the
# program. Where KILL_AT is "before POINT" or "after POINT", kills the whole process group there. No fork but that one.
program=${0##*/} number=1 caller=
read -r caller <"/proc/$PPID/cmdline"
case $caller in
  *scripts/*.sh*) caller=${caller#*scripts/} caller=${caller%%.sh*} caller=${caller##*/} ;;
  *) caller=inline ;; # bash -c
esac
point=$caller:$program
set -C # so that a number is taken once
until { true >"$TRACE/$point:$number"; } 2>/dev/null; do number=$((number + 1)); done
set +C
point=$point:$number
echo "$point" >>"$TRACE.order"
PATH=$TRACED_PATH
if [ "$KILL_AT" = "before $point" ]; then kill -KILL 0; fi
if [ "$KILL_AT" != "after $point" ]; then exec "$program" "$@"; fi
"$program" "$@"
kill -KILL 0
