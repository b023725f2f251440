#!/usr/bin/env bash
# Authorise the kubectl role to deploy to the app's namespace, and to nothing else in the cluster.
#
# Usage: scripts/authorize-role.sh [--remove | -h]
#
#   --remove   remove the role from the cluster; keep the namespace and its rules
#
# Settings: AWS_REGION, CLUSTER_NAME, KUBECTL_ROLE_NAME, APP_NAMESPACE. The rules are in deployer-rbac.yml.
# Adds the role to the ConfigMap aws-auth as user "build" of group "deployers", and keeps everything else in it.
# A cluster in authentication mode API does not read aws-auth, so there the role gets an EKS access entry.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
begin --remove "$@"
require aws kubectl python3
check_manifest deployer-rbac.yml Role RoleBinding
verb=add title="Map the role to the group deployers in aws-auth"
if has_option --remove "$@"; then verb=remove title="Remove the role from aws-auth"; fi

grant_rights() {
  local level=pod-security.kubernetes.io/enforce=restricted present
  say "Grant the group deployers its rights in the namespace $APP_NAMESPACE (deployer-rbac.yml)"
  present=$(lookup NotFound kube get namespace "$APP_NAMESPACE" --output 'jsonpath={.metadata.name} {.metadata.labels}')
  [[ -n $present ]] || kube create namespace "$APP_NAMESPACE"
  [[ $present == *enforce*restricted* ]] || kube label namespace "$APP_NAMESPACE" --overwrite "$level"
  kube apply -n "$APP_NAMESPACE" -f deployer-rbac.yml
}

try_to_patch() { # fetches, edits and updates aws-auth; fails if someone else changed it in between
  lookup NotFound kube get configmap/aws-auth -n kube-system --output json >"$work/aws-auth.json" ||
    die "cannot read aws-auth: nothing was changed"
  "$python" scripts/lib/aws_auth.py "$verb" "$role_arn" "$saved" <"$work/aws-auth.json" >"$work/aws-auth-patch.yml" ||
    die "fix aws-auth, then run scripts/authorize-role.sh again"
  [[ -s $work/aws-auth-patch.yml ]] || return 0
  if [[ -s $work/aws-auth.json ]]; then
    kube patch configmap/aws-auth -n kube-system --patch-file "$work/aws-auth-patch.yml" 2>"$work/conflict" && return 0
  else
    kube create -f "$work/aws-auth-patch.yml" 2>"$work/conflict" && return 0
  fi
  grep -q -e Conflict -e AlreadyExists "$work/conflict" || die "aws-auth is unchanged: $(cat "$work/conflict")"
  warn "someone else changed aws-auth at the same time: fetching it again"
  return 1
}

change_aws_auth() {
  python=$(scripts/dev/venv.sh scripts)/bin/python
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

is_stale() { # EKS keeps the role's id, which no call shows; a role that was made later has another, and its entry does not count
  local made later=
  made=$(lookup NoSuchEntity aws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.CreateDate --output text) ||
    die "cannot read the age of role $KUBECTL_ROLE_NAME: its access entry is unchanged"
  [[ -z $made ]] || later=$(python3 scripts/lib/is_later.py "$made" "$1") ||
    die "cannot determine whether the access entry is older than the role: delete the entry in the EKS console, then run this again"
  [[ -n $later ]]
}

change_access_entry() {
  local entry=(--cluster-name "$CLUSTER_NAME" --principal-arn "$role_arn") wanted=(--kubernetes-groups deployers --username build)
  found=$(lookup ResourceNotFoundException aws eks describe-access-entry "${entry[@]}" --output text \
    --query "accessEntry.[username, join(',', kubernetesGroups), createdAt]")
  if [[ $verb == add && -n $found ]] && is_stale "${found##*$'\t'}"; then
    say "Delete the role's access entry, which was made for an earlier role of that name"
    aws eks delete-access-entry "${entry[@]}"
    found=
  fi
  case $verb:$found in
    remove:) say "The role has no access entry: nothing to remove" ;;
    remove:*) say "Delete the role's access entry" && aws eks delete-access-entry "${entry[@]}" ;;
    add:) say "Create an access entry for the role" && aws eks create-access-entry "${entry[@]}" "${wanted[@]}" --output text ;;
    add:build$'\t'deployers$'\t'*) say "The role's access entry is up to date" ;;
    add:*) say "Update the role's access entry" && aws eks update-access-entry "${entry[@]}" "${wanted[@]}" --output text ;;
  esac
}

say "Inspect the cluster $CLUSTER_NAME in $AWS_REGION"
identify
use_cluster
mode=$(aws eks describe-cluster --name "$CLUSTER_NAME" --output text \
  --query "cluster.[accessConfig.authenticationMode || 'CONFIG_MAP'] | [0]")
[[ $verb == remove ]] || grant_rights
case $mode in
  API) change_access_entry ;;
  CONFIG_MAP | API_AND_CONFIG_MAP) change_aws_auth ;;
  *) die "the cluster's authentication mode is $mode: this script supports API, API_AND_CONFIG_MAP and CONFIG_MAP" ;;
esac
