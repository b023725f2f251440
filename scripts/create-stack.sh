#!/usr/bin/env bash
# Create or update the stack with the pipeline: ECR, S3, Lambda, CodeBuild and CodePipeline.
#
# Usage: scripts/create-stack.sh [-h]
#
# Settings: AWS_REGION, STACK_NAME, CLUSTER_NAME, APP_NAMESPACE, KUBECTL_ROLE_NAME, GITHUB_USER, GITHUB_REPO, GITHUB_BRANCH.
# Also reads these from the environment. An update keeps the stack's value of each one that is not set:
#   GITHUB_TOKEN        a GitHub token; on a terminal, the script asks for it. Never in an argument list or a file.
#   CONNECTION_ARN      a CodeConnections connection, instead of the token
#   CODEBUILD_IMAGE     the build image
#   APPROVAL_REQUIRED   true or false: whether a person must approve each deployment
#   NOTIFICATION_EMAIL  the address notified of each failed or succeeded execution
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
uses=(AWS_REGION STACK_NAME CLUSTER_NAME APP_NAMESPACE KUBECTL_ROLE_NAME GITHUB_USER GITHUB_REPO GITHUB_BRANCH)
begin '' "$@"
[[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} || ! -t 0 ]] ||
  read -r -s -p "GitHub token (input is hidden; press Enter to keep the stack's present token): " GITHUB_TOKEN
check_source
require aws python3
check_manifest ci-cd-codepipeline.cfn.yml
check_stack_options
export APPROVAL_REQUIRED NOTIFICATION_EMAIL CODEBUILD_IMAGE

change_stack() { # change_stack create-stack|update-stack: passes the parameters by a pipe, as the token is one of them
  printf '%s' "${GITHUB_TOKEN:-}" | python3 scripts/lib/stack_parameters.py "$1" |
    aws cloudformation "$1" --stack-name "$STACK_NAME" --template-body file://ci-cd-codepipeline.cfn.yml \
      --parameters file:///dev/stdin --capabilities CAPABILITY_IAM \
      --query StackId --output text 2>"$work/error" && return
  grep -q 'No updates are to be performed' "$work/error" || {
    cat "$work/error" >&2
    die "CloudFormation rejected stack $STACK_NAME: fix the error above, then run this again"
  }
  say "The stack is up to date"
}

up_to_date() { # false with a token, because the stack's own token cannot be read to compare them
  local template present
  [[ -z ${GITHUB_TOKEN:-} ]] || return
  template=$(aws cloudformation get-template --stack-name "$STACK_NAME" --query TemplateBody --output text) ||
    die "cannot read the template of stack $STACK_NAME: fix the error above, then run this again"
  present=$(aws cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].Parameters' --output json) ||
    die "cannot read the parameters of stack $STACK_NAME: fix the error above, then run this again"
  [[ $template == "$(<ci-cd-codepipeline.cfn.yml)" ]] && python3 scripts/lib/stack_parameters.py compare <<<"$present"
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
[[ -n $present || -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]] ||
  die "GITHUB_TOKEN is not set: export a GitHub token, or export the ARN of a connection as CONNECTION_ARN"
KUBECTL_ROLE_ID=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.RoleId --output text)
export KUBECTL_ROLE_ID # changes if the role was recreated, so that the stack narrows its trust again
[[ -n $KUBECTL_ROLE_ID ]] ||
  die "role $KUBECTL_ROLE_NAME does not exist: run scripts/create-role.sh"
GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/check-github.sh || die "nothing was changed"

recover_stack
if [[ -z $status ]]; then
  say "Create the stack $STACK_NAME, about 3 minutes"
  change_stack create-stack
elif up_to_date; then
  say "The stack is up to date"
else
  say "Update the stack $STACK_NAME"
  change_stack update-stack
fi
wait_for_stack "$STACK_NAME"
case $status in
  CREATE_COMPLETE | UPDATE_COMPLETE) say "The stack is $status" ;;
  *) fail ;;
esac
aws cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output text
