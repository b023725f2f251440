#!/usr/bin/env bash
# Create the stack with the pipeline, or update it: ECR, S3, Lambda, CodeBuild and CodePipeline.
#
# Usage: scripts/create-stack.sh [-h]
#
# Settings: AWS_REGION, STACK_NAME, CLUSTER_NAME, KUBECTL_ROLE_NAME, GITHUB_USER, GITHUB_REPO, GITHUB_BRANCH.
# Reads from the environment, and leaves as they are on an update if they are not there:
#   GITHUB_TOKEN        a GitHub token; asked for if there is a terminal. It is in no argument list and in no file.
#   CONNECTION_ARN      a CodeConnections connection, instead of the token
#   CODEBUILD_IMAGE     the image that builds run in
#   APPROVAL_REQUIRED   true or false: a person approves each deployment
#   NOTIFICATION_EMAIL  told of each execution that failed or succeeded
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib.sh
begin '' "$@"
[[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} || ! -t 0 ]] ||
  read -r -s -p "GitHub token (it is not shown; just press Enter to keep the one that the stack has): " GITHUB_TOKEN
check_source
APPROVAL_REQUIRED=${APPROVAL_REQUIRED:-} NOTIFICATION_EMAIL=${NOTIFICATION_EMAIL:-} CODEBUILD_IMAGE=${CODEBUILD_IMAGE:-}
check APPROVAL_REQUIRED '^(true|false)?$' 'true or false'
check NOTIFICATION_EMAIL '^([^][:space:]@,;"<>]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?$' 'one e-mail address'
check CODEBUILD_IMAGE '^(aws/codebuild/[a-z0-9._-]+:[0-9.]+)?$' 'an image such as aws/codebuild/standard:8.0'
export APPROVAL_REQUIRED NOTIFICATION_EMAIL CODEBUILD_IMAGE
require aws python3

change_stack() { # change_stack create-stack|update-stack; the parameters with the token come by a pipe
  printf '%s' "${GITHUB_TOKEN:-}" | python3 scripts/stack_parameters.py "$1" |
    aws cloudformation "$1" --stack-name "$STACK_NAME" --template-body file://ci-cd-codepipeline.cfn.yml \
      --parameters file:///dev/stdin --capabilities CAPABILITY_IAM \
      --query StackId --output text 2>"$work/error" && return
  grep -q 'No updates are to be performed' "$work/error" || {
    cat "$work/error" >&2
    die "CloudFormation does not accept the stack $STACK_NAME"
  }
  say "The stack is as it should be: nothing to update"
}

carry_on() { # brings the stack from wherever an earlier attempt left it to where it can be created or updated
  wait_for_stack "$STACK_NAME"
  case $status in
    UPDATE_ROLLBACK_FAILED)
      say "Finish the rollback of an earlier update"
      aws cloudformation continue-update-rollback --stack-name "$STACK_NAME"
      wait_for_stack "$STACK_NAME"
      ;;
    ROLLBACK_COMPLETE | *_FAILED | REVIEW_IN_PROGRESS)
      say "Delete what an earlier attempt left: the stack is $status"
      delete_stack "$STACK_NAME"
      ;;
  esac
  [[ $status != DELETE_COMPLETE ]] || status=
}

say "Look for the stack $STACK_NAME in $AWS_REGION"
identify
present=$(stack_status "$STACK_NAME")
[[ -n $present || -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]] ||
  die "GITHUB_TOKEN is not set: put a GitHub token, or the ARN of a connection as CONNECTION_ARN, into the environment"
aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.Arn --output text >/dev/null ||
  die "the role $KUBECTL_ROLE_NAME cannot be seen: run scripts/create-role.sh"
GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/check-github.sh || die "nothing was changed"

carry_on
if [[ -z $status ]]; then
  say "Create the stack $STACK_NAME, about 3 minutes"
  change_stack create-stack
else
  say "Update the stack $STACK_NAME"
  change_stack update-stack
fi
wait_for_stack "$STACK_NAME"
case $status in
  CREATE_COMPLETE | UPDATE_COMPLETE) say "The stack is $status" ;;
  *)
    explain_stack "$STACK_NAME"
    die "the stack $STACK_NAME is $status for the reasons above: put them right, then run this again"
    ;;
esac
aws cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output text
