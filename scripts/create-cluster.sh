#!/usr/bin/env bash
# Create the EKS cluster with its nodes, and add it to your kubeconfig. Takes about 15 minutes; costs money until teardown.sh.
#
# Usage: scripts/create-cluster.sh [-h]
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBERNETES_VERSION, NODE_TYPE, NODE_COUNT, AUTHENTICATION_MODE.
# Keeps an existing cluster of that name as it is, and continues an interrupted creation.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/cluster.sh
uses=(AWS_REGION CLUSTER_NAME KUBERNETES_VERSION NODE_TYPE NODE_COUNT AUTHENTICATION_MODE)
begin '' "$@"
check_not CLUSTER_NAME _ 'a name without underscores, which eksctl does not accept'
require aws eksctl kubectl

write_config() { # the schema: https://eksctl.io/usage/schema
  cat >"$work/cluster.yml" <<END
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata:
  name: $CLUSTER_NAME
  region: $AWS_REGION
  version: "$KUBERNETES_VERSION"
upgradePolicy:
  supportType: STANDARD # EXTENDED, the default, costs six times as much once standard support has ended
accessConfig:
  authenticationMode: $AUTHENTICATION_MODE
vpc:
  nat:
    gateway: Disable # the nodes have public addresses and do not need a NAT gateway at \$0.045 an hour
addons:
$(printf '  - name: %s\n' "${addons[@]}")
managedNodeGroups:
  - name: nodes
    amiFamily: AmazonLinux2023
    instanceType: $NODE_TYPE
    desiredCapacity: $NODE_COUNT
    minSize: $NODE_COUNT
    maxSize: $NODE_COUNT
    volumeSize: 20
    volumeType: gp3
    volumeEncrypted: true
    disablePodIMDS: true # pods cannot get the credentials of their node
END
}

create() { # an earlier attempt may have left eksctl's stack behind without a cluster
  local stack=eksctl-$CLUSTER_NAME-cluster status cluster
  wait_for_stack "$stack"
  if [[ -n $status && $status != DELETE_COMPLETE ]]; then
    cluster=$(cluster_status) # on its own, so that a failure ends the script
    [[ -z $cluster ]] || die "cluster $CLUSTER_NAME has just been created by someone else: run this again"
    say "Delete the stack $stack, which is $status and has no cluster"
    delete_stack "$stack"
  fi
  say "Create the cluster $CLUSTER_NAME with $NODE_COUNT nodes ($NODE_TYPE), about 15 minutes"
  eksctl create cluster -f "$work/cluster.yml"
}

cluster_settled() {
  status=$(cluster_status) || die "cannot read the status of cluster $CLUSTER_NAME: fix the error above, then run this again"
  [[ $status != CREATING && $status != UPDATING ]]
}

say "Look for the cluster $CLUSTER_NAME in $AWS_REGION"
identify
addons=(vpc-cni kube-proxy coredns)
# shellcheck disable=SC2154 # set by identify
[[ $partition != aws ]] || addons+=(metrics-server) # not offered in the regions of China and of the US government
write_config
wait_until 1800 "cluster $CLUSTER_NAME" cluster_settled
case $status in
  '') create ;;
  ACTIVE) say "The cluster already exists" ;;
  *) die "cluster $CLUSTER_NAME is $status: wait until it is gone, or run scripts/teardown.sh, then run this again" ;;
esac
aws eks update-kubeconfig --name "$CLUSTER_NAME"
use_cluster
is_complete || add_missing
say "Wait until $NODE_COUNT nodes are ready"
wait_until 600 "the wait for $NODE_COUNT ready nodes" enough_nodes
kube get nodes
end
