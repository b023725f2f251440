#!/usr/bin/env bash
# Delete everything that the tutorial created, in an order that leaves nothing behind, then check for leftovers.
#
# Usage: scripts/teardown.sh [--yes | -h]
#
#   --yes   delete without confirmation
#
# Settings: all of settings.sh. Works if any part is missing, and again after an interruption. Exits with 1 if
# anything is left.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib/common.sh
begin --yes "$@"
has_option --yes "$@" || [[ -t 0 ]] || refuse "teardown.sh: there is no terminal to confirm on: pass --yes to delete without confirmation"
require aws eksctl kubectl python3

confirm() {
  local answer
  printf 'This deletes, in account %s, region %s:\n' "$account" "$AWS_REGION"
  printf '  the namespace %s with the app and its load balancer\n  the stack %s with its images and artifacts\n' "$APP_NAMESPACE" "$STACK_NAME"
  printf '  the role %s\n  the cluster %s\n' "$KUBECTL_ROLE_NAME" "$CLUSTER_NAME"
  read -r -p 'Type the name of the cluster to continue: ' answer
  [[ $answer == "$CLUSTER_NAME" ]] || die "nothing was deleted"
}

delete_app() { # with its load balancer; eksctl deletes load balancers too, but only while the cluster works
  use_cluster
  say "Delete the namespace $APP_NAMESPACE, and wait until its load balancer is gone"
  # Delete the pods first: with pods left, the namespace controller retries only after half of their grace period.
  kubectl delete deployment,service,hpa --all -n "$APP_NAMESPACE" --cascade=foreground --timeout=15m
  kubectl delete namespace "$APP_NAMESPACE" --ignore-not-found --timeout=15m
}

delete_pipeline() {
  wait_for_stack "$STACK_NAME"
  if [[ -z $status || $status == DELETE_COMPLETE ]]; then
    say "There is no stack $STACK_NAME"
  else
    say "Delete the stack $STACK_NAME, about 3 minutes"
    delete_stack "$STACK_NAME"
  fi
}

delete_role() {
  local found
  found=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.Arn --output text)
  if [[ -z $found ]]; then
    say "There is no role $KUBECTL_ROLE_NAME"
    return
  fi
  say "Delete the role $KUBECTL_ROLE_NAME"
  lookup NoSuchEntity aws iam delete-role-policy --role-name "$KUBECTL_ROLE_NAME" --policy-name eks-describe
  lookup NoSuchEntity aws iam delete-role --role-name "$KUBECTL_ROLE_NAME"
}

cluster_settled() { # an operation in progress must end before another can start
  cluster=$(cluster_status) || die "cannot read the status of cluster $CLUSTER_NAME: fix the error above, then run this again"
  [[ $cluster != CREATING && $cluster != UPDATING && $cluster != DELETING ]]
}

delete_cluster() {
  local stack
  if [[ -n $cluster ]]; then
    say "Delete the cluster $CLUSTER_NAME, about 10 minutes"
    eksctl delete cluster --name "$CLUSTER_NAME" --region "$AWS_REGION" --wait --disable-nodegroup-eviction
  else
    say "There is no cluster $CLUSTER_NAME"
  fi
  for stack in "eksctl-$CLUSTER_NAME-nodegroup-nodes" "eksctl-$CLUSTER_NAME-cluster"; do
    wait_for_stack "$stack"
    [[ -n $status && $status != DELETE_COMPLETE ]] || continue
    say "Delete the stack $stack, which an interrupted run left behind"
    delete_stack "$stack"
  done
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
wait_until 1800 "the cluster $CLUSTER_NAME" cluster_settled
[[ $cluster != ACTIVE ]] || (delete_app)
delete_pipeline
[[ $cluster != ACTIVE ]] || scripts/authorize-role.sh --remove || warn "cannot remove the role's entry: it is deleted with the cluster"
delete_role
delete_cluster
remove_context
scripts/leftovers.sh
