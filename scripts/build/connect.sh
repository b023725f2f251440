#!/usr/bin/env bash
# Write a kubeconfig that accesses the cluster as the kubectl role.
#
# Usage: scripts/build/connect.sh CLUSTER_NAME ROLE_ARN
#
# Writes to the file that KUBECONFIG names; the context is called deployer. For each call, kubectl then runs a program
# that assumes the role, so no secret is stored: aws-iam-authenticator, which AWS's images for CodeBuild have and which
# starts in a tenth of the time, or else `aws eks get-token`.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

cluster=${1:-} role_arn=${2:-}
[[ $# == 2 && $role_arn =~ ^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$ ]] ||
  refuse "name a cluster and the ARN of a role: see scripts/build/connect.sh -h"
[[ $cluster =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$ ]] || refuse "$(printf '%q is not a cluster name' "${cluster:0:60}")"
[[ ${KUBECONFIG:-} == [!-]* ]] || refuse "KUBECONFIG is not set, or begins with a hyphen: set it to the file to write"
require aws

use_authenticator() {
  type -P aws-iam-authenticator kubectl >/dev/null || return 0
  # The arguments are one line of CSV, and a role's name may have a comma.
  kubectl config set-credentials deployer --exec-api-version=client.authentication.k8s.io/v1beta1 \
    --exec-command=aws-iam-authenticator --exec-arg="token,--region=$AWS_REGION,--cluster-id=$cluster,\"--role=$role_arn\""
}

# A new role or trust policy takes some seconds to propagate.
say "Connect to $cluster as ${role_arn##*/}"
for pause in 2 4 8 16 0; do
  aws eks update-kubeconfig --name "$cluster" --alias deployer --user-alias deployer --role-arn "$role_arn" \
    --assume-role-arn "$role_arn" --kubeconfig "$KUBECONFIG" 2>"$work/error" && use_authenticator && end
  if ((pause == 0)) || ! grep -q AccessDenied "$work/error"; then break; fi
  sleep "$pause"
done
if grep AccessDenied "$work/error" >&2; then # without the advice that follows, which is for an IAM user
  die "access denied: ${role_arn##*/} must trust this build and have the policy of iam-role-policy.json: run scripts/create-role.sh, then scripts/create-stack.sh"
fi
cat "$work/error" >&2
die "cannot get the endpoint of cluster $cluster in $AWS_REGION: fix the error above, then run this again"
