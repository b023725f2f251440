#!/usr/bin/env bash
# Delete everything that the tutorial created, in an order that leaves nothing behind, then check for leftovers.
#
# Usage: scripts/teardown.sh [--yes | -h]
#
#   --yes   delete without confirmation
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, STACK_NAME, APP_NAMESPACE. Works if any part is missing, and again
# after an interruption. A part that cannot be deleted does not keep the others. Exits with 1 if anything is left.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/budget.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME STACK_NAME APP_NAMESPACE)
begin --yes "$@"
has_option --yes "$@" || [[ -t 0 ]] || refuse "teardown.sh: there is no terminal to confirm on: pass --yes to delete without confirmation"
require aws eksctl kubectl python3

confirm() {
  local answer
  printf 'This deletes, in account %s, region %s:\n' "$account" "$AWS_REGION"
  printf '  the namespace %s with the app and its load balancer\n  the stack %s with its images and artifacts\n' "$APP_NAMESPACE" "$STACK_NAME"
  printf '  the role %s\n  the cluster %s\n  the budget %s\n' "$KUBECTL_ROLE_NAME" "$CLUSTER_NAME" "$STACK_NAME-budget"
  read -r -p 'Type the name of the cluster to continue: ' answer
  [[ $answer == "$CLUSTER_NAME" ]] || die "nothing was deleted"
}

delete_app() { # with its load balancer; eksctl deletes load balancers too, but only while the cluster works
  use_cluster
  say "Delete the namespace $APP_NAMESPACE, and wait until its load balancer is gone"
  # Delete the pods first: with pods left, the namespace controller retries only after half of their grace period.
  kube delete deployment,service,hpa --all -n "$APP_NAMESPACE" --cascade=foreground --timeout=15m --request-timeout=0
  kube delete namespace "$APP_NAMESPACE" --ignore-not-found --timeout=15m --request-timeout=0
}

remove_stack() { # remove_stack NAME TIME
  wait_for_stack "$1"
  [[ -n $status && $status != DELETE_COMPLETE ]] || { say "There is no stack $1" && return; }
  say "Delete the stack $1, about $2 minutes"
  delete_stack "$1"
}

delete_role() {
  local found
  found=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.Arn --output text)
  [[ -n $found ]] || { say "There is no role $KUBECTL_ROLE_NAME" && return; }
  say "Delete the role $KUBECTL_ROLE_NAME"
  lookup NoSuchEntity aws iam delete-role-policy --role-name "$KUBECTL_ROLE_NAME" --policy-name eks-describe
  lookup NoSuchEntity aws iam delete-role --role-name "$KUBECTL_ROLE_NAME"
}

cluster_settled() {
  cluster=$(cluster_status) || die "cannot read the status of cluster $CLUSTER_NAME: fix the error above, then run this again"
  [[ $cluster != CREATING && $cluster != UPDATING && $cluster != DELETING ]]
}

settle_cluster() { # an operation in progress must end before another can start
  wait_until 1800 "the cluster $CLUSTER_NAME" cluster_settled
  echo "$cluster" >"$work/cluster"
}

delete_cluster() {
  [[ -n $cluster ]] || { say "There is no cluster $CLUSTER_NAME" && return; }
  say "Delete the cluster $CLUSTER_NAME, about 10 minutes"
  eksctl delete cluster --name "$CLUSTER_NAME" --region "$AWS_REGION" --wait --disable-nodegroup-eviction
}

remove_context() { # undoes aws eks update-kubeconfig; the context goes last, as it marks that the rest may be there
  local name=arn:$partition:eks:$AWS_REGION:$account:cluster/$CLUSTER_NAME kind
  kubectl config get-contexts --output name | grep -qxF "$name" || return 0
  say "Remove the cluster from your kubeconfig"
  for kind in user cluster context; do # kubectl warns if the context is the current one; leftovers.sh checks the result
    kubectl config "delete-$kind" "$name" >/dev/null 2>&1 || true
  done
}

identify
has_option --yes "$@" || confirm
say "Look for the cluster $CLUSTER_NAME in $AWS_REGION"
echo UNKNOWN >"$work/cluster"
try "the status of the cluster" settle_cluster
cluster=$(<"$work/cluster")
if [[ $cluster == ACTIVE ]]; then try "the namespace $APP_NAMESPACE" delete_app; fi
try "the stack $STACK_NAME" remove_stack "$STACK_NAME" 3
[[ $cluster != ACTIVE ]] || scripts/authorize-role.sh --remove || warn "cannot remove the role's entry: it is deleted with the cluster"
try "the role $KUBECTL_ROLE_NAME" delete_role
# The cluster costs most, so it is deleted whatever has failed. If eksctl fails, its stacks may still go.
try "the cluster $CLUSTER_NAME" delete_cluster
for stack in "eksctl-$CLUSTER_NAME-nodegroup-nodes" "eksctl-$CLUSTER_NAME-cluster"; do
  [[ $stack != *_* ]] || continue # no name of a stack, so eksctl did not create the cluster
  try "the stack $stack" remove_stack "$stack" 10
done
try "the kubeconfig context" remove_context
((${#failed[@]})) || try "the budget $STACK_NAME-budget" delete_budget # it warns as long as something is left
if ((${#failed[@]})); then
  list=$(printf '%s, ' "${failed[@]}")
  die "failed: ${list%, }: fix the errors above, then run this again"
fi
scripts/leftovers.sh || die "the check for leftovers failed: follow its message above, then run this again"
