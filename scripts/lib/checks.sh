# shellcheck shell=bash
# Checks of the settings and documents. A value that passes has no character that is special to a shell, YAML or a URL.

read_settings() { # in a separate shell first, because a mistake in settings.sh would end this one without a message
  local problem
  problem=$(bash -euo pipefail -c 'source ./settings.sh' 2>&1) || {
    problem=${problem%%$'\n'*}
    refuse "settings.sh cannot be used: ${problem#*settings.sh: }: fix it; \"git diff -- settings.sh\" shows what was changed"
  }
  set -o allexport
  # shellcheck source=settings.sh
  source ./settings.sh
  set +o allexport
}

check() { # check NAME PATTERN WHAT: refuses a setting that does not match the extended regular expression
  local name=$1 value=${!1-}
  [[ $value =~ $2 ]] || refuse "$(printf '%s is %q: set it to %s, in settings.sh or the environment' "$name" "${value:0:60}" "$3")"
}

check_settings() {
  [[ ${TMPDIR:-/tmp} == /* ]] || refuse "$(printf 'TMPDIR is %q: set it to the absolute path of a directory' "${TMPDIR:0:60}")"
  check AWS_REGION '^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$' 'a region such as us-east-2'
  check CLUSTER_NAME '^[A-Za-z0-9][A-Za-z0-9-]{0,99}$' '1 to 100 letters, digits and hyphens, starting with a letter or digit'
  check KUBERNETES_VERSION '^1\.[1-9][0-9]$' 'a minor version such as 1.36'
  check NODE_TYPE '^[a-z][a-z0-9-]{1,20}\.[a-z0-9-]{1,20}$' 'an instance type such as t3.medium'
  check NODE_COUNT '^[1-9][0-9]?$' 'a number from 1 to 99'
  check AUTHENTICATION_MODE '^(API|API_AND_CONFIG_MAP|CONFIG_MAP)$' 'API_AND_CONFIG_MAP, CONFIG_MAP or API'
  check KUBECTL_ROLE_NAME '^[A-Za-z0-9_+=,.@][A-Za-z0-9_+=,.@-]{0,63}$' "the role's name, 1 to 64 characters, without a path, not its ARN"
  check STACK_NAME '^[A-Za-z][A-Za-z0-9-]{0,99}$' '1 to 100 letters, digits and hyphens, starting with a letter'
  check APP_NAMESPACE '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' '1 to 63 lower-case letters, digits and hyphens'
  case $APP_NAMESPACE in
    default | kube-*) refuse "APP_NAMESPACE is $APP_NAMESPACE: set it to a namespace for the app alone, in settings.sh or the environment" ;;
  esac
  [[ -z ${GITHUB_USER:-} ]] || check_github_user
  check GITHUB_REPO '^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$' "the repository's name alone, such as aws_pipeline"
  check GITHUB_BRANCH '^[A-Za-z0-9_]([A-Za-z0-9_./-]{0,198}[A-Za-z0-9_-])?$' 'a branch name such as master or release/1.2'
  case $GITHUB_BRANCH in
    *..* | *//* | */.* | *.lock) refuse "GITHUB_BRANCH is $GITHUB_BRANCH: set it to a branch name such as master or release/1.2, in settings.sh or the environment" ;;
  esac
}

check_github_user() {
  check GITHUB_USER '^.{1,39}$' "the owner of the repository on GitHub, such as octocat"
  check GITHUB_USER '^[A-Za-z0-9]([_-]?[A-Za-z0-9]){0,38}$' "the owner of the repository on GitHub, such as octocat"
}

check_source() { # the GitHub repository, and at most one credential to read it; never prints a secret
  [[ -n $GITHUB_USER ]] || refuse "GITHUB_USER is not set: this checkout has no origin on GitHub, so set it in settings.sh or the environment"
  [[ -z ${GITHUB_TOKEN:-} || -z ${CONNECTION_ARN:-} ]] || refuse "GITHUB_TOKEN and CONNECTION_ARN are both set: unset one of them"
  [[ ${GITHUB_TOKEN:-} =~ ^([A-Za-z0-9_]{20,255})?$ ]] ||
    refuse "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"
  CONNECTION_ARN=${CONNECTION_ARN:-}
  check CONNECTION_ARN '^(arn:aws[a-z-]*:codeconnections:[a-z0-9-]+:[0-9]{12}:connection/[0-9a-f-]{36})?$' "a connection's ARN"
}

check_stack_options() { # what create-stack.sh accepts in addition to the settings
  local images
  images=$(sed -n 's|^ *- \(aws/codebuild/[a-z0-9._-]*:[0-9.]*\)$|\1|p' ci-cd-codepipeline.cfn.yml | paste -s -d '|' -)
  check APPROVAL_REQUIRED '^(true|false)?$' 'true or false'
  check NOTIFICATION_EMAIL '^([^[:space:]@,;"<>]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?$' 'one email address'
  check CODEBUILD_IMAGE "^(${images//./\\.})?$" 'an image that the template lists, such as aws/codebuild/standard:8.0'
}

check_policy() { # check_policy FILE KEY: a valid IAM policy once filled in, with this key in a statement
  local document
  document=$(python3 scripts/lib/render.py "$1" ACCOUNT_ID=0 REGION=x CLUSTER_NAME=x 2>&1) ||
    refuse "$document: fix it; \"git diff -- $1\" shows what was changed"
  [[ $document == *"\"$2\": "* ]] || refuse "$1: no statement has a $2: fix it; \"git diff -- $1\" shows what was changed"
}

python=''      # not the terminal's
use_python() { # sets python to one that has what scripts/lib imports
  [[ -n $python ]] || python=$(scripts/dev/venv.sh scripts)/bin/python
}

check_manifest() { # check_manifest FILE [KIND...]: valid YAML with exactly these kinds, or with any
  local problem
  use_python
  problem=$("$python" scripts/lib/check_manifest.py "$@" 2>&1) || refuse "$problem: fix it; \"git diff -- $1\" shows what was changed"
}
