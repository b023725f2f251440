# What the commands of a case in tests/docs/symptoms.toml can call.
# shellcheck shell=bash disable=SC2154,SC2312 # variables of the tests; in a terminal, a command that fails shows its error

shopt -s checkhash # a tool is looked for again once it is gone

shim() { # shim TOOL: standard input is a program that hides the tool
  cat >"$SHIMS/$1"
  chmod +x "$SHIMS/$1"
  hash -r
}

administrator=("$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY")

sign_in_as_administrator() {
  export AWS_ACCESS_KEY_ID=${administrator[0]} AWS_SECRET_ACCESS_KEY=${administrator[1]}
}

sign_in_as() { # sign_in_as USER [POLICY]: makes an IAM user, with a policy if given, and uses its key
  local user=$1 key
  aws iam create-user --user-name "$user" >/dev/null
  [[ -z ${2:-} ]] || aws iam put-user-policy --user-name "$user" --policy-name own --policy-document "$2"
  key=$(aws iam create-access-key --user-name "$user" --query 'AccessKey.[AccessKeyId, SecretAccessKey]' --output text)
  read -r AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY <<<"$key"
}

clock_is_off() { # clock_is_off hours=N: for the AWS CLI
  shim aws <<END
#!$(command -v python3)
import datetime
import sys
import botocore.auth
from awscli.clidriver import main
now = botocore.auth.get_current_datetime
botocore.auth.get_current_datetime = lambda *args, **kwargs: now(*args, **kwargs) + datetime.timedelta($1)
sys.exit(main())
END
}

console() { # console VERB PARAMETER=VALUE...: what the console's form of a stack calls
  local verb=$1 pair pairs=()
  shift
  for pair; do pairs+=("ParameterKey=${pair%%=*},ParameterValue=${pair#*=}"); done
  aws cloudformation "$verb" --stack-name aws-pipeline --template-body file://ci-cd-codepipeline.cfn.yml \
    --capabilities CAPABILITY_IAM --parameters "${pairs[@]}"
}

settled() { # waits until no operation of the stack is in progress
  until [[ $(aws cloudformation describe-stacks --stack-name aws-pipeline --query 'Stacks[0].StackStatus' --output text) != *_IN_PROGRESS ]]; do
    sleep 1
  done
}

why_the_stack_failed() {
  aws cloudformation describe-stack-events --stack-name aws-pipeline --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]"
}

why_the_build_failed() { # of the newest build of the pipeline: what its phases say
  local build
  build=$(aws codepipeline list-action-executions --pipeline-name aws-pipeline --output text \
    --query "actionExecutionDetails[?input.actionTypeId.provider=='CodeBuild'] | [0].output.executionResult.externalExecutionId")
  aws codebuild batch-get-builds --ids "$build" --output text --query 'builds[0].phases[].contexts[].message'
}

why_source_failed() { # in the newest execution of the pipeline
  aws codepipeline list-action-executions --pipeline-name aws-pipeline --output text --query \
    "actionExecutionDetails[?stageName=='Source'] | [0].output.executionResult.errorDetails.message"
}

image() { # prints the image that runs, without its digest
  kubectl -n hello-world get deployment hello-world -o 'jsonpath={.spec.template.spec.containers[0].image}' | sed 's/@.*//'
}

complete_connection() { # complete_connection ARN: as in the console
  (eval "$COMPLETE '$1'")
}
