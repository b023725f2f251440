#!/usr/bin/env bash
# Show the status of everything: cluster, role, mapping, pods, the app's URL, cost, stack, executions and how it delivers.
#
# Usage: scripts/status.sh [-h]
#
# Settings: AWS_REGION, CLUSTER_NAME, NODE_TYPE, NODE_COUNT, KUBECTL_ROLE_NAME, STACK_NAME, APP_NAMESPACE. Changes nothing.
# Shows the rest if a part cannot be read, and then exits with 1.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
# shellcheck source=scripts/lib/mapping.sh
source scripts/lib/mapping.sh
uses=(AWS_REGION CLUSTER_NAME NODE_TYPE NODE_COUNT KUBECTL_ROLE_NAME STACK_NAME APP_NAMESPACE)
begin '' "$@"
require aws kubectl python3

line() { printf '%-11s %s\n' "$1" "$2"; }
indent() { cut -c 1-108 | sed 's/^/            /'; }

show_role() { # the role, and who may assume it
  local builds trust
  trust=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --output json --query Role.AssumeRolePolicyDocument)
  if [[ -z $trust ]]; then
    line role "none: run scripts/create-role.sh"
    return
  fi
  builds=$(lookup "$no_stack" aws cloudformation describe-stacks --stack-name "$STACK_NAME" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='CodeBuildRoleArn'].OutputValue | [0] || ''")
  trust=$(python3 scripts/lib/trust.py "$account" "$builds" <<<"$trust")
  line role "$KUBECTL_ROLE_NAME, ${trust%%$'\n'*}"
  [[ $trust != *$'\n'* ]] || indent <<<"${trust#*$'\n'}"
}

show_mapping() { # the Kubernetes user that the role is mapped to
  mode=${cluster##*, }
  read_mapping
  if [[ -n $user ]]; then
    line mapping "the role is user $user of group ${groups:-(none)}, by $by"
  else
    line mapping "none: run scripts/authorize-role.sh"
  fi
}

show_app() { # show_app TITLE NAMESPACE: the address of each load balancer, whatever deployment.yml calls it
  local host hosts
  hosts=$(kube get services -n "$2" --output \
    "jsonpath={range .items[?(@.spec.type=='LoadBalancer')]}{.status.loadBalancer.ingress[0]['hostname','ip']}{'\n'}{end}")
  [[ $hosts == *[![:space:]]* ]] || line "$1" "no address yet"
  for host in $hosts; do line "$1" "http://$host/"; done
  line pods "in the namespace $2"
  kube get pods -n "$2" --output wide 2>&1 | indent
}

show_stack() { # and its latest executions: status, start, commit and its subject; and the figures of the last twenty
  local stack executions delivery
  stack=$(stack_status "$STACK_NAME")
  line stack "${stack:+$STACK_NAME, }${stack:-none: run scripts/create-stack.sh}"
  [[ -n $stack ]] || return 0
  line executions "of the pipeline $STACK_NAME, newest first"
  executions=$(lookup PipelineNotFoundException aws codepipeline list-pipeline-executions --pipeline-name "$STACK_NAME" \
    --max-items 20 --output json --query 'pipelineExecutionSummaries[].[status, startTime, sourceRevisions[0].revisionId,
      sourceRevisions[0].revisionSummary, lastUpdateTime]')
  python3 scripts/lib/executions.py list <<<"${executions:-[]}" | indent
  delivery=$(python3 scripts/lib/executions.py delivery <<<"${executions:-[]}")
  line delivery "$delivery"
}

show_cluster() { # with what runs in it
  local cost
  cluster=$(lookup ResourceNotFoundException aws eks describe-cluster --name "$CLUSTER_NAME" --output text \
    --query "cluster && join(', ', cluster.[status, version, upgradePolicy.supportType || '-', accessConfig.authenticationMode || '-'])")
  line cluster "${cluster:+$CLUSTER_NAME, }${cluster:-none: run scripts/create-cluster.sh}"
  [[ $cluster == ACTIVE* ]] || return 0
  use_cluster
  show_mapping
  kube get nodes 2>&1 | indent
  find_staging
  show_app app "$APP_NAMESPACE"
  [[ -z $staging ]] || show_app staging "$staging"
  cost=$(STAGING=${staging:+true} python3 scripts/lib/cost.py "$NODE_TYPE" "$NODE_COUNT")
  line cost "$cost"
}

running='' incomplete=''
identify
line account "$account as ${caller##*:}, region $AWS_REGION"
for part in role cluster stack; do # in parallel, because each call takes the AWS CLI a second
  "show_$part" >"$work/$part" 2>"$work/$part.error" &
  running+=" $!"
done
for job in $running; do wait "$job" || incomplete=yes; done
cat "$work/role" "$work/cluster" "$work/stack"
cat "$work"/*.error >&2
[[ -z $incomplete ]] || die "this is not everything: fix the errors above, then run this again"
end
