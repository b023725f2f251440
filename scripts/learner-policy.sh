#!/usr/bin/env bash
# Print a policy of docs/policies with the names of your account, region, cluster, stack and role in it.
#
# Usage: scripts/learner-policy.sh scripts|stack|cluster
#        scripts/learner-policy.sh -h
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, STACK_NAME. Changes nothing.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME STACK_NAME)
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac
[[ $# == 1 && $1 =~ ^(scripts|stack|cluster)$ ]] || refuse "name a policy, scripts, stack or cluster: see scripts/learner-policy.sh -h"
require aws python3
check_policy "docs/policies/$1.json" Resource

identify
document "docs/policies/$1.json"
end
