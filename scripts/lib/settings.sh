# shellcheck shell=bash
# Reads and checks the settings. No value that passes has a character that a shell would expand inside double quotes.

refuse_file() { refuse "$2: fix it; \"git diff -- $1\" shows what was changed"; } # refuse_file FILE PROBLEM

read_settings() { # in a separate shell first, because a mistake in settings.sh would end this one without a message
  local problem name
  [[ ! -r settings.sh || $(<settings.sh) != *$'\r'* ]] ||
    refuse "settings.sh has Windows line ends: save it with Unix line ends (LF), and set git config --global core.autocrlf input"
  problem=$(bash -euo pipefail -c 'source ./settings.sh' 2>&1) || {
    problem=${problem%%$'\n'*}
    refuse_file settings.sh "settings.sh cannot be used: ${problem#*settings.sh: }"
  }
  given=''
  for name in $(compgen -e); do [[ -z ${!name-} ]] || given+=" $name"; done # what the environment sets, before the defaults
  set -o allexport
  # shellcheck source=settings.sh
  source ./settings.sh
  set +o allexport
  given="$given $GITHUB_GIVEN"
}

refuse_setting() { # refuse_setting NAME WHAT
  local value=${!1-}
  refuse "$(printf '%s is %q: set it to %s, in settings.sh or the environment' "$1" "${value:0:60}" "$2")"
}

check() { # check NAME PATTERN WHAT: refuses a setting that does not match the extended regular expression
  [[ ${!1-} =~ $2 ]] || refuse_setting "$1" "$3"
}

check_not() { # check_not NAME PATTERN WHAT: refuses a setting that matches
  [[ ! ${!1-} =~ $2 ]] || refuse_setting "$1" "$3"
}

# shellcheck disable=SC2034 # for common.sh
every_setting=(AWS_REGION CLUSTER_NAME KUBERNETES_VERSION NODE_TYPE NODE_COUNT AUTHENTICATION_MODE KUBECTL_ROLE_NAME STACK_NAME
  APP_NAMESPACE GITHUB_USER GITHUB_REPO GITHUB_BRANCH)

check_settings() { # check_settings NAME...; the template has the same patterns for its parameters
  local name
  [[ ${TMPDIR:-/tmp} == /* ]] || refuse "$(printf 'TMPDIR is %q: set it to the absolute path of a directory' "${TMPDIR:0:60}")"
  for name; do check_setting "$name"; done
}

check_setting() {
  case $1 in
    AWS_REGION) check "$1" '^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$' 'a region such as us-east-2' ;;
    CLUSTER_NAME) check "$1" '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$' '1 to 100 letters, digits, hyphens and underscores, starting with a letter or digit' ;;
    KUBERNETES_VERSION) check "$1" '^1\.[1-9][0-9]$' 'a minor version such as 1.36' ;;
    NODE_TYPE) check "$1" '^[a-z][a-z0-9-]{1,20}\.[a-z0-9-]{1,20}$' 'an instance type such as t3.medium' ;;
    NODE_COUNT) check "$1" '^[1-9][0-9]?$' 'a number from 1 to 99' ;;
    AUTHENTICATION_MODE) check "$1" '^(API|API_AND_CONFIG_MAP|CONFIG_MAP)$' 'API_AND_CONFIG_MAP, CONFIG_MAP or API' ;;
    KUBECTL_ROLE_NAME) check "$1" '^[A-Za-z0-9_+=,.@][A-Za-z0-9_+=,.@-]{0,63}$' "the role's name, 1 to 64 characters, without a path, not its ARN" ;;
    STACK_NAME) check "$1" '^[A-Za-z][A-Za-z0-9-]{0,99}$' '1 to 100 letters, digits and hyphens, starting with a letter' ;;
    APP_NAMESPACE)
      check "$1" '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' '1 to 63 lower-case letters, digits and hyphens'
      check_not "$1" '^(default|kube-.*)$' 'a namespace for the app alone'
      ;;
    GITHUB_USER) check "$1" '^([A-Za-z0-9][A-Za-z0-9_-]{0,38})?$' 'the owner of the repository on GitHub, such as octocat' ;;
    GITHUB_REPO)
      check "$1" '^[A-Za-z0-9._-]{1,100}$' "the repository's name alone, such as aws_pipeline"
      check_not "$1" '^\.\.?$|\.git$' "the repository's name alone, such as aws_pipeline"
      ;;
    GITHUB_BRANCH) # as git check-ref-format, without what is special to the shell, quotes and braces
      check "$1" '^[A-Za-z0-9_#@+=,%!]([A-Za-z0-9_#@+=,%!./-]{0,198}[A-Za-z0-9_#@+=,%!-])?$' 'a branch name such as master or release/1.2'
      check_not "$1" '^@$|\.\.|//|/\.|\.lock(/|$)' 'a branch name such as master or release/1.2'
      ;;
  esac
}
