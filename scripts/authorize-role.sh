#!/usr/bin/env bash
# Authorise the kubectl role to deploy to the app's namespace (and to that of staging), and to nothing else in the cluster.
#
# Usage: scripts/authorize-role.sh [--remove | -h]
#
#   --remove   remove the role from the cluster; keep the namespace and its rules
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, APP_NAMESPACE. The rules are in deployer-rbac.yml. With STAGING=true
# in the environment, they apply in the namespace APP_NAMESPACE-staging too.
# Adds the role to the ConfigMap aws-auth as user "build" of group "deployers", and keeps everything else in it. In
# authentication mode API, which does not read aws-auth, the role gets an EKS access entry. If it has one in another mode,
# that is corrected, because it wins over aws-auth. In the end, asks the cluster whether the role may deploy.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
# shellcheck source=scripts/lib/mapping.sh
source scripts/lib/mapping.sh
uses=(AWS_REGION CLUSTER_NAME KUBECTL_ROLE_NAME APP_NAMESPACE)
begin --remove "$@"
require aws kubectl python3
check_staging
check_manifest deployer-rbac.yml Role RoleBinding
namespaces=("$APP_NAMESPACE")
[[ ${STAGING:-} != true ]] || namespaces+=("$APP_NAMESPACE-staging")
verb=add title="Map the role to the group deployers in aws-auth"
if has_option --remove "$@"; then verb=remove title="Remove the role from aws-auth"; fi

grant_rights() { # grant_rights NAMESPACE
  local present
  say "Grant the group deployers its rights in the namespace $1 (deployer-rbac.yml)"
  present=$(lookup NotFound kube get namespace "$1" \
    --output 'jsonpath={.metadata.name} {.metadata.labels.pod-security\.kubernetes\.io/enforce}')
  [[ -n $present ]] || kube create namespace "$1"
  [[ ${present#* } == restricted ]] || kube label namespace "$1" --overwrite pod-security.kubernetes.io/enforce=restricted
  kube apply -n "$1" -f deployer-rbac.yml
}

try_to_patch() { # fetches, edits and updates aws-auth; fails if someone else changed it in between
  aws_auth "$verb" "$saved" >"$work/aws-auth-patch.yml" || die "fix aws-auth, then run scripts/authorize-role.sh again"
  [[ -s $work/aws-auth-patch.yml ]] || return 0
  if [[ -s $work/aws-auth.json ]]; then
    kube patch configmap/aws-auth -n kube-system --patch-file "$work/aws-auth-patch.yml" 2>"$work/conflict" && return 0
  else
    kube create -f "$work/aws-auth-patch.yml" 2>"$work/conflict" && return 0
  fi
  grep -q -e Conflict -e AlreadyExists "$work/conflict" || die "aws-auth is unchanged: $(<"$work/conflict")"
  warn "someone else changed aws-auth at the same time: fetching it again"
  return 1
}

change_aws_auth() {
  saved=$(mktemp -d "${TMPDIR:-/tmp}/aws-auth-$CLUSTER_NAME.XXXXXX")/aws-auth.yml
  say "$title"
  wait_until 300 "the update of aws-auth" try_to_patch
  if [[ -s $work/aws-auth-patch.yml ]]; then
    warn "the previous aws-auth is saved in $saved"
  else
    rm -rf "${saved%/*}"
    say "aws-auth is up to date"
  fi
}

confirm() { # confirm NAMESPACE: a new right counts within a second or two
  local pause
  for pause in 1 2 0; do
    ask_cluster "$1"
    [[ -n $denied ]] || break
    sleep "$pause"
  done
  [[ -z $denied ]] || die "the role cannot deploy: to the cluster it is user ${user:-(none)} of group ${groups:-(none)}, by $by, which may not $denied: \
see whether something else changes aws-auth, access entries, or the RoleBinding deployer in $1, then run this again"
}

say "Inspect the cluster $CLUSTER_NAME in $AWS_REGION"
identify
use_cluster
mode=$(aws eks describe-cluster --name "$CLUSTER_NAME" --output text \
  --query "cluster.[accessConfig.authenticationMode || 'CONFIG_MAP'] | [0]")
[[ $mode =~ ^(API|API_AND_CONFIG_MAP|CONFIG_MAP)$ ]] ||
  die "the cluster's authentication mode is $mode: this script supports API, API_AND_CONFIG_MAP and CONFIG_MAP"
for namespace in "${namespaces[@]}"; do
  [[ $verb == remove ]] || grant_rights "$namespace"
done
found=$(access_entry)
[[ $mode != API && -z $found ]] || change_access_entry
[[ $mode == API || $verb$found == add?* ]] || change_aws_auth
if [[ $verb == add ]]; then
  read_mapping
  for namespace in "${namespaces[@]}"; do confirm "$namespace"; done
  say "The role may deploy: to the cluster it is user $user of group $groups, by $by"
fi
end
