# shellcheck shell=bash
# Deletes the parts of the tutorial. Each function works if its part is missing, and again after an interruption.
# shellcheck disable=SC2154 # staging, status: cloud.sh and stacks.sh; cluster: teardown.sh; APP_NAMESPACE …: settings.sh

delete_app() { # with its load balancer; eksctl deletes load balancers too, but only while the cluster works
  local namespace staging
  use_cluster
  find_staging
  for namespace in "$APP_NAMESPACE" $staging; do # the pods first: with pods left, the namespace controller waits longer
    say "Delete the namespace $namespace, and wait until its load balancer is gone"
    kube delete deployment,service,hpa --all -n "$namespace" --cascade=foreground --timeout=15m --request-timeout=0
    kube delete namespace "$namespace" --ignore-not-found --timeout=15m --request-timeout=0
  done
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

delete_cluster() {
  [[ -n $cluster ]] || { say "There is no cluster $CLUSTER_NAME" && return; }
  say "Delete the cluster $CLUSTER_NAME, about 10 minutes"
  eksctl delete cluster --name "$CLUSTER_NAME" --region "$AWS_REGION" --wait --disable-nodegroup-eviction
}

remove_context() { # undoes aws eks update-kubeconfig; the context goes last, as it marks that the rest may be there
  local name kind
  name=$(find_context)
  [[ -n $name ]] || return 0
  say "Remove the cluster from your kubeconfig"
  for kind in user cluster context; do # kubectl warns if the context is the current one; leftovers.sh checks the result
    kubectl config "delete-$kind" "$name" >/dev/null 2>&1 || true
  done
}
