# shellcheck shell=bash
# CloudFormation stacks: their status, their failures, and their deletion with all that is in their buckets.
# shellcheck disable=SC2154 # work: common.sh

no_stack='ValidationError\).* does not exist'

stack_status() { # prints the status, or nothing
  lookup "$no_stack" aws cloudformation describe-stacks --stack-name "$1" --query 'Stacks[0].StackStatus' --output text
}

stack_settled() {
  status=$(stack_status "$1") || die "cannot read the status of stack $1: fix the error above, then run this again"
  [[ $status != *_IN_PROGRESS || $status == REVIEW_IN_PROGRESS ]]
}

wait_for_stack() { # wait_for_stack NAME: until no operation is in progress; sets status
  wait_until 2400 "stack $1" stack_settled "$1"
}

explain_stack() { # explain_stack NAME: prints the failures of its latest operation, with their reasons
  # shellcheck disable=SC2312 # the scripts set pipefail
  aws cloudformation describe-stack-events --stack-name "$1" --output text \
    --query 'StackEvents[].[ResourceType, ResourceStatus, LogicalResourceId, ResourceStatusReason]' |
    awk -F '\t' '
      over { next }
      $2 ~ /FAILED/ { print "    " $3 ": " $4 }
      $1 == "AWS::CloudFormation::Stack" && $2 ~ /^(CREATE|UPDATE|DELETE)_IN_PROGRESS$/ { over = 1 }' >&2
}

kept_buckets() { # kept_buckets STACK: prints the buckets that its deletion could not delete
  aws cloudformation describe-stack-resources --stack-name "$1" --output text --query \
    "StackResources[?ResourceType=='AWS::S3::Bucket' && ResourceStatus=='DELETE_FAILED'].PhysicalResourceId"
}

empty_bucket() { # empty_bucket NAME: deletes every version and delete marker, 1,000 at a time
  local errors
  say "Empty the bucket $1"
  while true; do
    aws s3api list-object-versions --bucket "$1" --max-items 1000 --output json \
      --query '{Objects: [Versions, DeleteMarkers][].{Key: Key, VersionId: VersionId}}' >"$work/versions.json"
    grep -q '"Key"' "$work/versions.json" || return 0
    errors=$(aws s3api delete-objects --bucket "$1" --delete "file://$work/versions.json" --output text \
      --query "Errors[].[Key, Message] || ''")
    [[ -z $errors ]] || die "bucket $1 cannot be emptied: $errors: fix the error above, then run this again"
  done
}

delete_stack() { # delete_stack NAME: deletes it and waits until it is gone
  local bucket buckets
  aws cloudformation delete-stack --stack-name "$1"
  wait_for_stack "$1"
  [[ -n $status && $status != DELETE_COMPLETE ]] || return 0
  explain_stack "$1"
  buckets=$(kept_buckets "$1")
  [[ -n $buckets && -z ${2:-} ]] || die "stack $1 is $status: fix the errors above, then run this again"
  # An artifact on its way may arrive after the stack's function has emptied the bucket.
  for bucket in $buckets; do empty_bucket "$bucket"; done
  delete_stack "$1" again
}
