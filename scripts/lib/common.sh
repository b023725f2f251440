# shellcheck shell=bash
# Sourced by every script: messages, exit codes, the parsing of options, and the AWS CLI with timeouts.
# Exit codes: 0 done, 1 failed, 2 wrong arguments or settings (nothing has been called yet).

# Of every program: the same order, case and messages, whatever the language of the terminal.
export LC_ALL=C
# The AWS CLI retries throttled calls, 5xx and dropped connections, a limited number of times.
export AWS_RETRY_MODE=${AWS_RETRY_MODE:-standard} AWS_MAX_ATTEMPTS=${AWS_MAX_ATTEMPTS:-8}
# Override what ~/.aws/config may say about the CLI's output, its words for errors, its pager and its prompts. begin does
# so for its history. cli_timestamp_format and cli_binary_format have no variable; no script depends on them.
export AWS_DEFAULT_OUTPUT=json AWS_CLI_ERROR_FORMAT=legacy AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off
# To the AWS CLI, a page that a proxy sends instead of an answer is an empty answer: None, or null in JSON.
aws() {
  local answer
  answer=$(with_advice command aws --cli-connect-timeout 10 --cli-read-timeout 60 "$@") || return
  if [[ $answer == None || $answer == null ]]; then
    warn "aws $1 $2: the requested fields are missing from the answer"
    advice 'requested fields are missing' >&2
    return 1
  fi
  [[ -z $answer ]] || printf '%s\n' "$answer"
}

# Keep the token out of the environment of every program that does not need it.
[[ -z ${GITHUB_TOKEN:-} ]] || export -n GITHUB_TOKEN

# Ignore variables of these names that the caller may have set.
work='' reported='' ended=''

say() { printf '==> %s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }

die() { # the script failed
  warn "$*"
  reported=1
  exit "$reported"
}

refuse() { # an argument or a setting is wrong
  warn "$*"
  reported=2
  exit "$reported"
}

end() { ended=yes && exit 0; } # the last command of every script: in bash 3.2, finish sees 0 after an unset variable, too

finish() { # turns every exit code into 0, 1 or 2
  local status=$?
  [[ -z ${work:-} ]] || rm -rf "$work" || true
  [[ $status == 0 && -n ${ended:-} ]] && exit 0
  [[ -n ${reported:-} ]] || warn "${0##*/}: stopped at line ${failed_line:-?}: fix the error above, then run it again"
  exit "${reported:-1}"
}
trap finish EXIT
set -o errtrace
trap 'failed_line=$LINENO' ERR

# The script's path below scripts/, regardless of how it was called.
script=${self:-/$0} && script=${script##*/scripts/}

usage() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "scripts/$script"; }

has_option() { # has_option OPTION "$@"
  local option=$1 argument
  shift
  for argument; do [[ $argument != "$option" ]] || return 0; done
  return 1
}

begin() { # begin "OPTION..." "$@": accepts only these options, then reads and checks the settings
  local allowed=$1 argument option known
  shift
  if has_option -h "$@" || has_option --help "$@"; then usage && end; fi
  for argument; do
    known=
    for option in $allowed; do [[ $argument != "$option" ]] || known=yes; done
    [[ -n $known ]] || refuse "$(printf 'unexpected argument %q: see scripts/%s -h' "${argument:0:60}" "$script")"
  done
  read_settings
  check_settings "${uses[@]}"
  # A full disk still accepts directories and empty files.
  { work=$(mktemp -d) && printf '%8192s' '' >"$work/room"; } 2>/dev/null ||
    die "cannot write to ${TMPDIR:-/tmp}: free some space there, or set TMPDIR to another directory"
  export AWS_CLI_HISTORY_FILE=$work/history # in its own place, it would keep the GitHub token
}

# shellcheck source=scripts/lib/errors.sh
source scripts/lib/errors.sh
# shellcheck source=scripts/lib/settings.sh
source scripts/lib/settings.sh
# shellcheck source=scripts/lib/checks.sh
source scripts/lib/checks.sh
uses=("${every_setting[@]}") # a script that uses only some of the settings says which: the others may be wrong
# shellcheck source=scripts/lib/cloud.sh
source scripts/lib/cloud.sh
# shellcheck source=scripts/lib/stacks.sh
source scripts/lib/stacks.sh
