# shellcheck shell=bash
# Calls of AWS and the cluster, waits with a timeout, and steps that may fail.
# shellcheck disable=SC2154 # work: common.sh

require() { # require PROGRAM...
  local program
  for program; do
    type -P "$program" >/dev/null || die "$program is not on PATH: install it as described in the README under \"What you need\""
  done
}

# lookup ERROR_CODE COMMAND...: prints the command's output, or nothing if AWS or the cluster fails with that "not found"
# error. The whole form of the error is matched, because a proxy's error page may contain the words too.
lookup() {
  local absence=$1 error
  shift
  error=$(mktemp "$work/error.XXXXXX")
  if ! "$@" 2>"$error"; then
    grep -qE "(An error occurred|Error from server) \([A-Za-z]*($absence)" "$error" || {
      cat "$error" >&2
      return 1
    }
  fi
}

# Sets caller, account, partition and role_arn. Every script that changes something calls it first.
identify() {
  caller=$(aws sts get-caller-identity --query Arn --output text 2>"$work/identity") || {
    cat "$work/identity" >&2
    reported=1
    advice "$(<"$work/identity")" >/dev/null || credentials_are_wrong >&2 # what is known, aws has said
    exit "$reported"
  }
  [[ $caller =~ ^arn:([a-z-]+):(iam|sts)::([0-9]{12}): ]] || {
    reported=1
    advice 'requested fields are missing' >&2
    exit "$reported"
  }
  partition=${BASH_REMATCH[1]} account=${BASH_REMATCH[3]}
  # shellcheck disable=SC2034 # used by the scripts
  role_arn=arn:$partition:iam::$account:role/$KUBECTL_ROLE_NAME
}

cluster_status() { # prints CREATING, ACTIVE, DELETING, FAILED, UPDATING or nothing
  lookup ResourceNotFoundException aws eks describe-cluster --name "$CLUSTER_NAME" --query cluster.status --output text
}

# Writes a kubeconfig of the cluster of settings.sh alone, so that kube cannot reach another, whatever context is current.
use_cluster() {
  aws eks update-kubeconfig --name "$CLUSTER_NAME" --user-alias "$CLUSTER_NAME" --kubeconfig "$work/kubeconfig" >/dev/null ||
    die "cannot get the endpoint of cluster $CLUSTER_NAME in $AWS_REGION: see the error above; if the cluster does not exist, run scripts/create-cluster.sh"
  kubectl config set-credentials "$CLUSTER_NAME" --kubeconfig "$work/kubeconfig" --exec-command=bash \
    --exec-arg="scripts/lib/token.sh,$CLUSTER_NAME,\"$work/token\"" >/dev/null
}

kube() { with_advice kubectl --kubeconfig "$work/kubeconfig" --request-timeout=30s "$@"; } # after use_cluster

find_context() { # prints the name of the cluster's context, if the learner's kubeconfig has it
  local names
  names=$(kubectl config get-contexts --output name) || return
  grep -xF "arn:$partition:eks:$AWS_REGION:$account:cluster/$CLUSTER_NAME" <<<"$names" || true
}

find_staging() { # sets staging to the namespace of staging, if the cluster has one
  # shellcheck disable=SC2034 # used by the scripts
  staging=$(lookup NotFound kube get namespace "$APP_NAMESPACE-staging" --output 'jsonpath={.metadata.name}')
}

document() { # document FILE: prints the policy with its placeholders filled in
  python3 scripts/lib/render.py "$1" "PARTITION=$partition" "ACCOUNT_ID=$account" "REGION=$AWS_REGION" \
    "CLUSTER_NAME=$CLUSTER_NAME" "KUBECTL_ROLE_NAME=$KUBECTL_ROLE_NAME" "STACK_NAME=$STACK_NAME"
}

wait_until() { # wait_until SECONDS WHAT COMMAND...: repeats the command, at growing intervals, until it succeeds
  local deadline=$((SECONDS + $1)) seconds=$1 what=$2 pause=1
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || die "$what is not finished after $((seconds / 60)) minutes: check the AWS console, then run this again"
    sleep "$pause.$((RANDOM % 10))"
    ((pause = pause < 8 ? pause * 2 : 10))
  done
}

failed=()
try() { # try WHAT COMMAND...: in a shell of its own; a failure adds WHAT to failed and stops nothing else
  local what=$1 code
  shift
  set +e # bash ignores set -e in a command before ||, and bash 3.2 a subshell that fails
  (
    set -e
    "$@"
  )
  code=$?
  set -e
  ((code == 0)) || failed+=("$what")
}
