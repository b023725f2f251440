#!/usr/bin/env bash
# List the resources of the tutorial that are left in the account. Changes nothing.
#
# Usage: scripts/leftovers.sh [-h]
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, STACK_NAME. Exits with 1 if anything is left.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/budget.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME STACK_NAME)
begin '' "$@"
require aws kubectl

find_names() { # find_names WHAT COMMAND...: writes a line for each name that the command prints
  local what=$1 names
  shift
  names=$("$@" --output text) || die "cannot check for leftovers: $what"
  tr '\t' '\n' <<<"$names" | awk -v what="$what" 'NF && $0 != "None" { print "    " what ": " $0 }' >>"$work/left"
}

search() { # search WHAT COMMAND...: in parallel, because each call takes the AWS CLI a second
  find_names "$@" &
  running+=" $!"
}

# CloudFormation and Kubernetes tag the resources they create, whose names cannot be predicted.
by_stack=Name=tag:aws:cloudformation:stack-name,Values=eksctl-$CLUSTER_NAME-cluster
by_cluster=Name=tag-key,Values=kubernetes.io/cluster/$CLUSTER_NAME

running='' search_failed=''
lower=$(tr '[:upper:]' '[:lower:]' <<<"$STACK_NAME") # buckets and repositories have lower-case names

say "Look for leftovers in $AWS_REGION"
identify
search stack aws cloudformation list-stacks --query \
  "StackSummaries[?StackStatus!='DELETE_COMPLETE' && (StackName=='$STACK_NAME' || starts_with(StackName, 'eksctl-$CLUSTER_NAME-'))].StackName"
search cluster aws eks list-clusters --query "clusters[?@=='$CLUSTER_NAME']"
search role aws iam list-roles --query \
  "Roles[?RoleName=='$KUBECTL_ROLE_NAME' || starts_with(RoleName, '$STACK_NAME-') || starts_with(RoleName, 'eksctl-$CLUSTER_NAME-')].RoleName"
search 'image repository' aws ecr describe-repositories --query "repositories[?starts_with(repositoryName, '$lower-')].repositoryName"
search budget find_budget
search bucket aws s3api list-buckets --query "Buckets[?starts_with(Name, '$lower-')].Name"
for group in "$STACK_NAME-" "/aws/codebuild/$STACK_NAME" "/aws/lambda/$STACK_NAME-" "/aws/eks/$CLUSTER_NAME/"; do
  search 'log group' aws logs describe-log-groups --log-group-name-prefix "$group" --query 'logGroups[].logGroupName'
done
search instance aws ec2 describe-instances --filters "$by_cluster" Name=instance-state-name,Values=pending,running,stopping,stopped \
  --query 'Reservations[].Instances[].InstanceId'
search volume aws ec2 describe-volumes --filters "$by_cluster" --query 'Volumes[].VolumeId'
search address aws ec2 describe-addresses --filters "$by_stack" --query 'Addresses[].PublicIp'
search 'NAT gateway' aws ec2 describe-nat-gateways --filter "$by_stack" Name=state,Values=pending,available --query 'NatGateways[].NatGatewayId'
search 'network' aws ec2 describe-vpcs --filters "$by_stack" --query 'Vpcs[].VpcId'
search 'load balancer security group' aws ec2 describe-security-groups --filters "$by_cluster" --query 'SecurityGroups[].GroupId'
for job in $running; do wait "$job" || search_failed=yes; done
[[ -z $search_failed ]] || die "cannot determine what is left: fix the errors above, then run this again"
find_names 'kubeconfig context' find_context

if [[ -s $work/left ]]; then
  sort "$work/left"
  die "the resources above are left and may cost money: delete them in the AWS console unless something else uses them"
fi
say "Nothing is left"
end
