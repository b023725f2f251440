#!/usr/bin/env bash
# Rehearse the whole tutorial on this machine, without an AWS account.
#
# Usage: scripts/rehearse.sh [--app DIR] [--keep] [--record FILE] [--verbose] [--without-cluster]
#        scripts/rehearse.sh --check
#        scripts/rehearse.sh practice [EXERCISE | list | hint | check | solution | reset]
#        scripts/rehearse.sh status | env | stop | clean
#
#   --check            say whether this machine has what a rehearsal needs, and install nothing; every rehearsal begins so
#   --app DIR          rehearse with the Flask app in this directory, and report how ready it is; see docs/own-app.md
#   --keep             leave everything running, so that you can follow the README by hand
#   --record FILE      write a replay of the rehearsal: one HTML file that needs no server
#   --verbose          show all output of every step
#   --without-cluster  only the steps that need neither root nor Docker: AWS, GitHub and the stack
#   practice           break something for you to find and fix: the next exercise, or the one that is named; see docs/practice.md
#   status             show what a kept rehearsal runs, and what rehearsals keep on the disk
#   env                print the environment of a kept rehearsal: eval "$(scripts/rehearse.sh env)"
#   stop               end a kept rehearsal and clean up after it
#   clean              remove what rehearsals keep on the disk to start faster the next time
set -euo pipefail
here=$PWD self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."

if [[ " $* " == *" -h "* || " $* " == *" --help "* ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$self"
  exit 0
fi

check() {
  if ! python3 -c 'import tomllib' 2>/dev/null; then
    echo "rehearse.sh: python3 is missing or older than 3.11: install Python 3.11 or later and put it first on PATH" >&2
    return 2
  fi
  python3 -m rehearsal.check "$@"
}

if [[ $* == --check ]]; then
  check
  exit
elif [[ " $* " == *" --check "* ]]; then
  echo "rehearse.sh: --check takes no other arguments" >&2
  exit 2
fi
[[ " $* " == *" --without-cluster "* ]] && packages=minimal || packages=rehearsal
case ${1:-} in status | env | stop | clean) packages=minimal ;; esac
# Check before anything is installed. rehearse.py installs the other packages, and then checks what needs them.
python=$(type -P python3 || true)
if [[ $packages == rehearsal ]] && type -P python3 >/dev/null; then check --quiet; fi
scripts/dev/packages.sh --missing "$packages" >/dev/null
scripts/dev/packages.sh minimal
if [[ $packages == rehearsal && -z $python ]]; then check --quiet; fi
venv=$(scripts/dev/venv.sh rehearsal)
exec "$venv/bin/python" -m rehearsal --from "$here" "$@"
