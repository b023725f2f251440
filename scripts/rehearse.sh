#!/usr/bin/env bash
# Rehearse the whole tutorial on this machine, without an AWS account.
#
# Usage: scripts/rehearse.sh [--keep] [--verbose] [--without-cluster]
#        scripts/rehearse.sh status | env | stop
#
#   --keep             leave everything running, so that you can follow the README by hand
#   --verbose          show all output of every step
#   --without-cluster  only the steps that need neither root nor Docker: AWS, GitHub and the stack
#   status             show what a kept rehearsal runs, and where
#   env                print the environment of a kept rehearsal: eval "$(scripts/rehearse.sh env)"
#   stop               end a kept rehearsal and clean up after it
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."

if [[ " $* " == *" -h "* || " $* " == *" --help "* ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
  exit 0
fi

[[ " $* " == *" --without-cluster "* ]] && packages=minimal || packages=rehearsal
case ${1:-} in status | env | stop) packages=minimal ;; esac
scripts/dev/packages.sh --missing "$packages" >/dev/null # refuses a machine that cannot have them
scripts/dev/packages.sh minimal                          # rehearse.py installs the others, while Kubernetes is built
venv=$(scripts/dev/venv.sh rehearsal)
exec "$venv/bin/python" -m rehearsal "$@"
