# shellcheck shell=bash
# Checks of what else a script reads: the repository, the options of the stack, documents.

why_no_origin() { # in git's words if git cannot read it; without a password in the URL
  local said
  [[ -e .git ]] || { echo "this directory is no clone of a repository" && return; }
  if said=$(git --git-dir=.git remote get-url origin 2>&1); then
    said="is ${said/\/\/*@///}, which is not on GitHub"
  else
    said="cannot be read (${said%%$'\n'*})"
  fi
  said=$(tr -cd '[:print:]' <<<"$said")
  echo "the origin of this checkout $said"
}

check_source() { # the GitHub repository, and at most one credential to read it; never prints a secret
  local why
  if [[ -z $GITHUB_USER ]]; then
    why=$(why_no_origin)
    refuse "GITHUB_USER is not set: $why; set it and GITHUB_REPO in settings.sh or the environment"
  fi
  [[ -z ${GITHUB_TOKEN:-} || -z ${CONNECTION_ARN:-} ]] || refuse "GITHUB_TOKEN and CONNECTION_ARN are both set: unset one of them"
  [[ ${GITHUB_TOKEN:-} =~ ^([A-Za-z0-9_]{20,255})?$ ]] ||
    refuse "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"
  check CONNECTION_ARN '^(arn:aws[a-z-]*:(codeconnections|codestar-connections):[a-z0-9-]+:[0-9]{12}:connection/[0-9a-f-]{36})?$' "a connection's ARN"
}

check_staging() { # STAGING=true adds the namespace of staging
  check STAGING '^(true|false)?$' 'true or false'
  [[ ${STAGING:-} != true ]] || check APP_NAMESPACE '^.{1,55}$' 'at most 55 characters, because STAGING appends "-staging"'
}

check_stack_options() { # what create-stack.sh accepts in addition to the settings
  local images
  images=$(sed -n 's|^ *- \(aws/codebuild/[a-z0-9._-]*:[0-9.]*\)$|\1|p' ci-cd-codepipeline.cfn.yml)
  images=${images//$'\n'/|}
  check_staging
  check APPROVAL_REQUIRED '^(true|false)?$' 'true or false'
  check FAIL_ON_SEVERITY '^(NONE|LOW|MEDIUM|HIGH|CRITICAL)?$' 'NONE, LOW, MEDIUM, HIGH or CRITICAL'
  check NOTIFICATION_EMAIL '^([^[:space:]@,;"<>]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?$' 'one email address'
  check CODEBUILD_IMAGE "^(${images//./\\.})?$" 'an image that the template lists, such as aws/codebuild/standard:8.0'
}

check_policy() { # check_policy FILE KEY: a valid IAM policy once filled in, with this key in a statement
  local document
  document=$(partition=aws account=0 document "$1" 2>&1) ||
    refuse_file "$1" "$document"
  [[ $document == *"\"$2\": "* ]] || refuse_file "$1" "$1: no statement has a $2"
}

python=''      # not the terminal's
use_python() { # sets python to one that has what scripts/lib imports
  [[ -n $python ]] || python=$(scripts/dev/venv.sh scripts)/bin/python
}

check_manifest() { # check_manifest FILE [KIND...]: valid YAML with exactly these kinds, or with any
  local problem
  use_python
  problem=$("$python" scripts/lib/check_manifest.py "$@" 2>&1) || refuse_file "$1" "$problem"
}
