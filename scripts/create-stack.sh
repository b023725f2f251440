#!/usr/bin/env bash
# Create or update the stack with the pipeline: ECR, S3, Lambda, CodeBuild and CodePipeline.
#
# Usage: scripts/create-stack.sh [-h]
#
# Settings: AWS_REGION, STACK_NAME, CLUSTER_NAME, APP_NAMESPACE, KUBECTL_ROLE_NAME, GITHUB_USER, GITHUB_REPO, GITHUB_BRANCH.
# Also reads those below from the environment. An update changes only what the environment or an edit of settings.sh
# gives, and says what: a repository or branch that is only this checkout's, and a default, change no existing stack.
#   GITHUB_TOKEN        a GitHub token; on a terminal, the script asks for it. Never in an argument list or a file.
#   CONNECTION_ARN      a CodeConnections connection, instead of the token
#   CODEBUILD_IMAGE     the build image
#   STAGING             true or false: whether each image goes to the namespace APP_NAMESPACE-staging first
#   APPROVAL_REQUIRED   true or false: whether a person must approve each deployment
#   FAIL_ON_SEVERITY    NONE, or LOW, MEDIUM, HIGH or CRITICAL: no image with such findings, or worse, is deployed
#   NOTIFICATION_EMAIL  the address notified of each failed or succeeded execution
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/update.sh
uses=(AWS_REGION STACK_NAME CLUSTER_NAME APP_NAMESPACE KUBECTL_ROLE_NAME GITHUB_USER GITHUB_REPO GITHUB_BRANCH)
begin '' "$@"
[[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} || ! -t 0 ]] ||
  read -r -s -p "GitHub token (input is hidden; press Enter to keep the stack's present token): " GITHUB_TOKEN
check_source
require aws python3
check_manifest ci-cd-codepipeline.cfn.yml
check_stack_options

change_stack() { # change_stack create-stack|update-stack [PRESENT]: the parameters go through a pipe, as the token is one
  printf '%s' "${GITHUB_TOKEN:-}" | python3 scripts/lib/stack_parameters.py "$@" |
    aws cloudformation "$1" --stack-name "$STACK_NAME" --template-body file://ci-cd-codepipeline.cfn.yml \
      --parameters file:///dev/stdin --capabilities CAPABILITY_IAM \
      --query StackId --output text 2>"$work/error" && changed=1 && return
  grep -q 'No updates are to be performed' "$work/error" || {
    cat "$work/error" >&2
    die "CloudFormation rejected stack $STACK_NAME: fix the error above, then run this again"
  }
  say "The stack is up to date"
}

fail() {
  explain_stack "$STACK_NAME"
  die "stack $STACK_NAME is $status: fix the errors above, then run this again"
}

recover_stack() { # brings the stack into a state in which it can be created or updated
  wait_for_stack "$STACK_NAME"
  case $status in
    UPDATE_ROLLBACK_FAILED)
      say "Finish the rollback of an earlier update"
      aws cloudformation continue-update-rollback --stack-name "$STACK_NAME"
      wait_for_stack "$STACK_NAME"
      [[ $status == UPDATE_ROLLBACK_COMPLETE ]] || fail
      ;;
    ROLLBACK_COMPLETE | *_FAILED | REVIEW_IN_PROGRESS)
      say "Delete the stack of an earlier attempt, which is $status"
      delete_stack "$STACK_NAME"
      ;;
  esac
  [[ $status != DELETE_COMPLETE ]] || status=
}

say "Look for the stack $STACK_NAME in $AWS_REGION"
identify
present=$(stack_status "$STACK_NAME")
case $present in
  '' | ROLLBACK_* | CREATE_FAILED | DELETE_* | REVIEW_IN_PROGRESS) ;; # recover_stack deletes it
  *) keep_values ;;
esac
[[ -n $present || -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]] ||
  die "GITHUB_TOKEN is not set: export a GitHub token, or export the ARN of a connection as CONNECTION_ARN"
KUBECTL_ROLE_ID=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.RoleId --output text)
export KUBECTL_ROLE_ID # changes if the role was recreated, so that the stack narrows its trust again
[[ -n $KUBECTL_ROLE_ID ]] ||
  die "role $KUBECTL_ROLE_NAME does not exist: run scripts/create-role.sh"
GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/check-github.sh || die "nothing was changed"

changed=''
recover_stack
if [[ -z $status ]]; then
  say "Create the stack $STACK_NAME, about 3 minutes"
  change_stack create-stack
else
  find_changes
  if [[ -s $work/changes ]]; then
    sed 's/^/==> /' "$work/changes"
    say "Update the stack $STACK_NAME"
    change_stack update-stack "$work/present.json"
  else
    say "The stack is up to date"
  fi
fi
wait_for_stack "$STACK_NAME"
# An earlier update that was rolled back is no failure of a run that had nothing to change.
[[ -z $changed || $status =~ ^(CREATE|UPDATE)_COMPLETE$ ]] || fail
say "The stack is $status"
aws cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output text
end
