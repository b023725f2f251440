# shellcheck shell=bash
# What the scripts share: messages, the check of the settings, and calls that are bounded and safe to repeat.
# Exit codes: 0 done, 1 failed, 2 the call or a setting is wrong and nothing was called.

# The AWS CLI retries what AWS asks to be retried (throttling, 5xx, a dropped connection), but not for ever.
export AWS_RETRY_MODE=${AWS_RETRY_MODE:-standard} AWS_MAX_ATTEMPTS=${AWS_MAX_ATTEMPTS:-8} AWS_PAGER=''
# A page that a proxy put in place of an answer reads to it like an answer with nothing in it: None, or null in JSON.
aws() {
  local answer
  answer=$(command aws --cli-connect-timeout 10 --cli-read-timeout 60 "$@") || return
  if [[ $answer == None || $answer == null ]]; then
    warn "aws $1 $2: the requested fields are missing from the answer: check whether a proxy or a sign-in page sent it"
    return 1
  fi
  [[ -z $answer ]] || printf '%s\n' "$answer"
}

# A secret that is in the environment stays out of that of every program that does not need it.
[[ -z ${GITHUB_TOKEN:-} ]] || export -n GITHUB_TOKEN

# Whatever the caller's environment has under these names is not ours.
work='' told=''

say() { printf '==> %s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }

die() { # the work failed
  warn "$*"
  told=1
  exit 1
}

refuse() { # the call or a setting is wrong
  warn "$*"
  told=2
  exit 2
}

finish() { # whatever a program exits with, a script exits with 0, 1 or 2
  local status=$?
  [[ -z ${work:-} ]] || rm -rf "$work"
  ((status == 0)) && exit 0
  [[ ${told:-} == 2 ]] && exit 2
  [[ -n ${told:-} ]] || warn "${0##*/}: stopped at line ${failed_line:-?}: fix the error above, then run it again"
  exit 1
}
trap finish EXIT
set -o errtrace
trap 'failed_line=$LINENO' ERR

# The script's path below scripts/, however it was called.
script=${0##*/}
[[ -e scripts/$script ]] || script=build/$script

usage() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "scripts/$script"; }

given() { # given OPTION "$@": is it among the arguments?
  local option=$1 argument
  shift
  for argument; do [[ $argument != "$option" ]] || return 0; done
  return 1
}

begin() { # begin "OPTION..." "$@": takes only these options, then reads and checks the settings
  local allowed=$1 argument option known
  shift
  if given -h "$@" || given --help "$@"; then
    usage
    exit 0
  fi
  for argument; do
    known=
    for option in $allowed; do [[ $argument != "$option" ]] || known=1; done
    [[ -n $known ]] || refuse "$(printf 'unexpected argument %q: see scripts/%s -h' "${argument:0:60}" "$script")"
  done
  read_settings
  check_settings
  # A full disk still takes directories and empty files.
  { work=$(mktemp -d) && printf '%8192s' '' >"$work/room"; } 2>/dev/null ||
    die "cannot write to ${TMPDIR:-/tmp}: free some space there, or set TMPDIR to another directory"
}

# shellcheck source=scripts/lib/checks.sh
source scripts/lib/checks.sh
# shellcheck source=scripts/lib/cloud.sh
source scripts/lib/cloud.sh
