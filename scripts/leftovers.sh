#!/usr/bin/env bash
# List what is left in the account of what the tutorial made. It only asks.
#
# Usage: scripts/leftovers.sh [-h]
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, STACK_NAME. Exits with 1 if something is left.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib/common.sh
begin '' "$@"
require aws kubectl

find_names() { # find_names WHAT COMMAND...: a line for each name that the command answers
  local what=$1 names
  shift
  names=$("$@" --output text) || die "cannot check for leftovers: $what"
  tr '\t' '\n' <<<"$names" | awk -v what="$what" 'NF && $0 != "None" { print "    " what ": " $0 }' >>"$work/left"
}

look() { # all at the same time, since each takes the AWS CLI a second
  find_names "$@" &
  running="${running:-} $!"
}

# Tags that CloudFormation and Kubernetes put on what they make; the names of their things cannot be told beforehand.
by_stack=Name=tag:aws:cloudformation:stack-name,Values=eksctl-$CLUSTER_NAME-cluster
by_cluster=Name=tag-key,Values=kubernetes.io/cluster/$CLUSTER_NAME

lower=$(tr '[:upper:]' '[:lower:]' <<<"$STACK_NAME") # names of buckets and repositories

say "Look for leftovers in $AWS_REGION"
identify
look stack aws cloudformation list-stacks --query \
  "StackSummaries[?StackStatus!='DELETE_COMPLETE' && (StackName=='$STACK_NAME' || starts_with(StackName, 'eksctl-$CLUSTER_NAME-'))].StackName"
look cluster aws eks list-clusters --query "clusters[?@=='$CLUSTER_NAME']"
look role aws iam list-roles --query \
  "Roles[?RoleName=='$KUBECTL_ROLE_NAME' || starts_with(RoleName, '$STACK_NAME-') || starts_with(RoleName, 'eksctl-$CLUSTER_NAME-')].RoleName"
look 'image repository' aws ecr describe-repositories --query "repositories[?starts_with(repositoryName, '$lower-')].repositoryName"
look bucket aws s3api list-buckets --query "Buckets[?starts_with(Name, '$lower-')].Name"
for group in "$STACK_NAME-" "/aws/codebuild/$STACK_NAME" "/aws/lambda/$STACK_NAME-" "/aws/eks/$CLUSTER_NAME/"; do
  look 'log group' aws logs describe-log-groups --log-group-name-prefix "$group" --query 'logGroups[].logGroupName'
done
look instance aws ec2 describe-instances --filters "$by_cluster" Name=instance-state-name,Values=pending,running,stopping,stopped \
  --query 'Reservations[].Instances[].InstanceId'
look volume aws ec2 describe-volumes --filters "$by_cluster" --query 'Volumes[].VolumeId'
look address aws ec2 describe-addresses --filters "$by_stack" --query 'Addresses[].PublicIp'
look 'NAT gateway' aws ec2 describe-nat-gateways --filter "$by_stack" Name=state,Values=pending,available --query 'NatGateways[].NatGatewayId'
look 'network' aws ec2 describe-vpcs --filters "$by_stack" --query 'Vpcs[].VpcId'
look 'load balancer security group' aws ec2 describe-security-groups --filters "$by_cluster" --query 'SecurityGroups[].GroupId'
for question in $running; do wait "$question" || unanswered=1; done
[[ -z ${unanswered:-} ]] || die "cannot determine what is left: fix the errors above, then run this again"
context=arn:$partition:eks:$AWS_REGION:$account:cluster/$CLUSTER_NAME
kubectl config get-contexts --output name | grep -xF "$context" | sed 's/^/    kubeconfig context: /' >>"$work/left" || true

if [[ -s $work/left ]]; then
  cat "$work/left"
  die "the resources above are left and may cost money: delete them in the AWS console unless something else uses them"
fi
say "Nothing is left"
