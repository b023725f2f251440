# shellcheck shell=bash
# The Kubernetes user and groups that the cluster's authenticator gives the kubectl role, and what they may do.
# shellcheck disable=SC2034,SC2154 # user, groups, by, denied: for the scripts; python: checks.sh; work: common.sh; role_arn: cloud.sh; mode, verb: the scripts

access_entry() { # prints the role's user, groups and time of creation in the EKS API, or nothing
  lookup 'ResourceNotFound|InvalidRequest' aws eks describe-access-entry --cluster-name "$CLUSTER_NAME" \
    --principal-arn "$role_arn" --output text --query "accessEntry.[username, join(',', kubernetesGroups), createdAt]"
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

aws_auth() { # aws_auth VERB...: runs aws_auth.py on the ConfigMap, which it reads to $work/aws-auth.json
  lookup NotFound kube get configmap/aws-auth -n kube-system --output json >"$work/aws-auth.json" ||
    die "cannot read aws-auth: nothing was changed"
  "$python" scripts/lib/aws_auth.py "$1" "$role_arn" "${@:2}" <"$work/aws-auth.json"
}

read_mapping() { # sets user, groups and by; an access entry wins over aws-auth, which mode API does not read
  local found
  user='' groups='' by='an access entry'
  found=$(access_entry)
  if [[ -z $found && $mode != API ]]; then
    by=aws-auth
    use_python
    found=$(aws_auth show)
  fi
  user=${found%%$'\t'*} found=${found#*$'\t'}
  groups=${found%%$'\t'*}
}

ask_cluster() { # ask_cluster NAMESPACE: sets denied to the rights in deployer-rbac.yml that the user lacks there
  "$python" scripts/lib/reviews.py ask "$1" "$user" "$groups" <deployer-rbac.yml >"$work/reviews.json"
  kube create -f "$work/reviews.json" --output json >"$work/answers.json" ||
    die "cannot ask the cluster whether the role may deploy: fix the error above; you need the right to create subjectaccessreviews"
  denied=$("$python" scripts/lib/reviews.py denied "$work/reviews.json" <"$work/answers.json")
}
