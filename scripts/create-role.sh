#!/usr/bin/env bash
# Create the IAM role that the pipeline's builds assume to reach the cluster.
#
# Usage: scripts/create-role.sh [-h]
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, STACK_NAME. Documents: trust.json (who may assume the role) and
# iam-role-policy.json (what the role may do). Keeps the trust policy of an existing role, because the stack narrows it.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME STACK_NAME)
begin '' "$@"
require aws python3
check_policy trust.json Principal
check_policy iam-role-policy.json Resource

say "Look for the role $KUBECTL_ROLE_NAME"
identify
document trust.json >"$work/trust.json"
document iam-role-policy.json >"$work/policy.json"
found=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.Arn --output text)

if [[ -z $found ]]; then
  say "Create the role, which account $account may assume"
  aws iam create-role --role-name "$KUBECTL_ROLE_NAME" --assume-role-policy-document "file://$work/trust.json" \
    --description "Assumed by the builds of $STACK_NAME to deploy to $CLUSTER_NAME" --query Role.Arn --output text
  aws iam wait role-exists --role-name "$KUBECTL_ROLE_NAME"
elif [[ $found != "$role_arn" ]]; then
  die "role $found has a path, so the cluster would not recognise it: set KUBECTL_ROLE_NAME to another name"
else
  say "The role already exists"
fi

present=''
[[ -z $found ]] || lookup NoSuchEntity aws iam get-role-policy --role-name "$KUBECTL_ROLE_NAME" --policy-name eks-describe \
  --query PolicyDocument --output json >"$work/present.json"
[[ ! -s $work/present.json ]] || present=$(document "$work/present.json")
if [[ $present == "$(<"$work/policy.json")" ]]; then
  say "Its policy eks-describe is up to date"
else
  say "Give it the policy eks-describe: it may describe the cluster $CLUSTER_NAME, and nothing else"
  aws iam put-role-policy --role-name "$KUBECTL_ROLE_NAME" --policy-name eks-describe \
    --policy-document "file://$work/policy.json"
fi
end
