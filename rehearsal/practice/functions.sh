# What the commands of an exercise can call. They run with bash's -euo pipefail, as the learner, in the learner's checkout.
# shellcheck shell=bash

colleague_pushes() { # colleague_pushes SUBJECT [COMMAND...]: push what COMMAND changes in a clone, or else an empty commit
  local subject=$1 clone origin failed=0 empty=(--allow-empty)
  shift
  (($# == 0)) || empty=() # a command that changes nothing breaks nothing
  origin=$(git remote get-url origin)
  clone=$(mktemp -d)
  git clone --quiet "$origin" "$clone"
  (cd "$clone" && "$@" &&
    git -c user.name=Kim -c user.email=kim@example.com commit --quiet --all "${empty[@]}" --message "$subject" &&
    git push --quiet) || failed=1
  rm -rf "$clone"
  return "$failed"
}

greet() { # greet TEXT: let the app say TEXT, or TEXT! if an earlier exercise has left it with that
  local text=$1
  ! grep -qF "\"$text\"" app.py || text+='!'
  sed -i "s/\(\"GREETING\", \"\)[^\"]*/\1$text/" app.py
}

pipeline_ends() { # wait until the pipeline has ended with the newest commit of the branch
  local commit state query
  git fetch --quiet origin HEAD
  commit=$(git rev-parse FETCH_HEAD)
  query="pipelineExecutionSummaries[?sourceRevisions[0].revisionId=='$commit'] | [0].status"
  for _ in {1..120}; do
    state=$(aws codepipeline list-pipeline-executions --pipeline-name aws-pipeline --output text --query "$query")
    case $state in Succeeded | Failed | Stopped | Superseded | Cancelled) return ;; esac
    sleep 2
  done
  echo "the pipeline has not ended with ${commit:0:7} within 4 minutes" >&2
  return 1
}

build_log() { # print what the builds of the branch's newest commit have logged
  local since
  git fetch --quiet origin HEAD
  since=$(git log -1 --format=%ct FETCH_HEAD)
  aws logs filter-log-events --log-group-name /aws/codebuild/aws-pipeline --output text --query 'events[].[message]' \
    --start-time "${since}000"
}

change_stack() { # change_stack ParameterKey=NAME,ParameterValue=VALUE...: keeps the other parameters
  local name others=()
  for name in $(aws cloudformation describe-stacks --stack-name aws-pipeline --query 'Stacks[0].Parameters[].ParameterKey' --output text); do
    [[ " $*" == *"ParameterKey=$name,"* ]] || others+=("ParameterKey=$name,UsePreviousValue=true")
  done
  aws cloudformation update-stack --stack-name aws-pipeline --use-previous-template --capabilities CAPABILITY_IAM \
    --parameters "$@" "${others[@]}"
}
