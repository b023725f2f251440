# shellcheck shell=bash
# What an interrupted creation of the cluster left out: add-ons, which only "eksctl create cluster" creates on its own, and
# nodes, which are not ready without vpc-cni and kube-proxy.
# shellcheck disable=SC2154 # addons: create-cluster.sh; work: common.sh; status: wait_for_stack in cloud.sh

enough_nodes() {
  local ready
  # shellcheck disable=SC2312 # the scripts set pipefail
  ready=$(kube get nodes --no-headers | awk '$2 ~ /^Ready/ { ready++ } END { print ready + 0 }') && ((ready >= NODE_COUNT))
}

is_complete() {
  local addon present
  present=$(aws eks list-addons --cluster-name "$CLUSTER_NAME" --query addons --output text) || die "cannot list the cluster's add-ons"
  for addon in "${addons[@]}"; do [[ " ${present//$'\t'/ } " == *" $addon "* ]] || return 1; done
  enough_nodes
}

create_node_group() { # to eksctl, a node group exists as soon as its stack does, even if the stack failed
  local stack=eksctl-$CLUSTER_NAME-nodegroup-nodes nodes
  wait_for_stack "$stack"
  case $status in
    CREATE_FAILED | ROLLBACK_* | DELETE_FAILED | REVIEW_IN_PROGRESS)
      say "Delete the stack $stack, which is $status"
      delete_stack "$stack"
      ;;
    '' | DELETE_COMPLETE)
      nodes=$(kube get nodes --output name)
      [[ -z $nodes ]] || return 0 # of another node group
      ;;
    *) return 0 ;;
  esac
  say "Create the nodes that an interrupted run did not create"
  eksctl create nodegroup -f "$work/cluster.yml"
}

add_missing() { # what eksctl create cluster does after its first stack; leaves a cluster alone that eksctl did not create
  wait_for_stack "eksctl-$CLUSTER_NAME-cluster"
  [[ -n $status && $status != DELETE_COMPLETE ]] || return 0
  say "Create the add-ons and nodes that are missing"
  eksctl create addon -f "$work/cluster.yml" --timeout=0s # without waiting, because coredns is healthy only with nodes
  create_node_group
}
