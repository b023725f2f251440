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
source scripts/lib/confirm.sh
# shellcheck source=scripts/lib/deletion.sh
source scripts/lib/deletion.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME STACK_NAME APP_NAMESPACE)
begin --yes "$@"
check_terminal delete "$@"
require aws eksctl kubectl python3

confirm() {
  printf '%s\n' "This deletes, in account $account, region $AWS_REGION:" \
    "  the namespace $APP_NAMESPACE, with the app and its load balancer, and that of staging" \
    "  the stack $STACK_NAME with its images and artifacts" "  the role $KUBECTL_ROLE_NAME" "  the cluster $CLUSTER_NAME" \
    "  the budget $STACK_NAME-budget"
  ask_for_name deleted
}

cluster_settled() {
  cluster=$(cluster_status) || die "cannot read the status of cluster $CLUSTER_NAME: fix the error above, then run this again"
  [[ $cluster != CREATING && $cluster != UPDATING && $cluster != DELETING ]]
}

settle_cluster() { # an operation in progress must end before another can start
  wait_until 1800 "the cluster $CLUSTER_NAME" cluster_settled
  echo "$cluster" >"$work/cluster"
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
end
