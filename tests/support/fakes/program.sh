#!/bin/bash
# Stand-in for a command line tool: records each call, then answers by a rule or becomes the real program.
#
# $FAKES/rules (tests/support/desk.py) has a line for each rule: rule TOOL PATTERN STDOUT STDERR CODE REAL. The first whose
# pattern, an extended regular expression, is in the arguments wins. REAL is the path of a program to become instead.
# Tests start this thousands of times, so it starts no other program.
program=${0##*/} call=$* line="[\"${0##*/}\"" given=("$@")
for word; do
  word=${word//\\/\\\\} word=${word//\"/\\\"}
  line+=", \"${word//$'\n'/\\n}\""
done
printf '%s]\n' "$line" >>"${FAKES:?}/calls" || exit 99 # JSON, by one write up to 4 KB: calls may be parallel

matches() { [[ -z $1 || $call =~ $1 ]]; }

rule() {
  [[ $program == "$1" ]] || return 0
  matches "$2" || case $? in
    1) return 0 ;;
    *) echo "not an extended regular expression: $2" >&2 && exit 99 ;;
  esac
  [[ -z $6 ]] || exec "$6" "${given[@]}" || exit
  printf '%s' "$3"
  printf '%s' "$4" >&2
  exit "$5"
}
# shellcheck source=/dev/null
source "$FAKES/rules"
