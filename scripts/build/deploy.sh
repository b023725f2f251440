#!/usr/bin/env bash
# Deploy an image: apply deployment.yml and wait for the rollout. If it fails, explain why and roll back.
#
# Usage: scripts/build/deploy.sh REPOSITORY@sha256:DIGEST
#
# Takes a digest, because a tag may move to another image. Changes nothing if that digest is already live.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

image=${1:-} deployment=deployment/hello-world
[[ $# == 1 && $image =~ ^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$ ]] ||
  refuse "name one image by its digest, as in REPOSITORY@sha256:...: see scripts/build/deploy.sh -h"
[[ $(sed -n 's/^[ -]*image: *//p' deployment.yml 2>/dev/null) == CONTAINER_IMAGE ]] ||
  refuse "deployment.yml must have one line \"image: CONTAINER_IMAGE\", where the digest goes: see git diff deployment.yml"
require kubectl

app() { kubectl --context deployer --namespace "$APP_NAMESPACE" "$@"; } # which connect.sh has made

find_stuck_pods() { # prints pods of the newest revision that will not start without a change; fails if there are none
  local columns='{.metadata.annotations.deployment\.kubernetes\.io/revision}{"\t"}{.metadata.labels.pod-template-hash}{"\t"}'
  columns+='{.metadata.name}{"\t"}{.status.containerStatuses[0].restartCount}{"\t"}'
  columns+='{.status.containerStatuses[0].state.waiting.reason}{"\t"}{.status.containerStatuses[0].state.waiting.message}'
  # An unreachable registry or a first crash may pass; these reasons do not.
  app get replicasets,pods --output=jsonpath="{range .items[*]}$columns{\"\\n\"}{end}" | awk -F '\t' '
    $1 > newest { newest = $1 + 0; hash = $2 }
    $1 == "" && $2 == hash && ($5 ~ /ImagePull/ && $6 ~ /not found/ || $5 == "CrashLoopBackOff" && $4 >= 2 ||
      $5 ~ /^(InvalidImageName|CreateContainerConfigError)$/) { print $3 ": " $5 ", " $6; found = 1 }
    END { exit !found }' >&2
}

wait_for_rollout() { # fails when the rollout has failed, or as soon as a pod is stuck
  # A little longer than progressDeadlineSeconds in deployment.yml, so that the cluster itself reports the failure.
  local end=$((SECONDS + 65))
  until app rollout status "$deployment" --timeout=10s 2>"$work/status"; do
    if ! grep -q 'timed out' "$work/status" || ((SECONDS > end)); then
      cat "$work/status" >&2
      return 1
    fi
    ! find_stuck_pods || return 1
  done
}

explain() { # prints what the cluster knows about the failure, before the rollback removes it
  local pod pods
  warn "--- pods"
  app get pods --sort-by=.metadata.creationTimestamp --output=wide >&2
  warn "--- events"
  app get events --field-selector=type!=Normal --sort-by=.metadata.creationTimestamp | tail -n 30 >&2
  pods=$(app get pods --sort-by=.metadata.creationTimestamp --output \
    jsonpath='{range .items[*]}{.metadata.name} {.status.containerStatuses[0].ready}{"\n"}{end}') || return 0
  # The newest two that are not ready are enough: all pods of a version fail for the same reason.
  for pod in $(awk '$2 != "true" { print $1 }' <<<"$pods" | tail -n 2); do
    warn "--- $pod"
    app describe pod "$pod" >&2
    warn "--- log of $pod"
    app logs "$pod" --tail=50 >&2
    warn "--- log of its container before the last restart"
    app logs "$pod" --tail=50 --previous >&2
  done
}

roll_back() { # roll_back REVISION
  [[ -n $1 ]] || die "the first deployment failed, so there is nothing to roll back to: its pods are kept for you to inspect"
  local now
  now=$(app get "$deployment" --output=jsonpath='{.spec.template.spec.containers[0].image}') || now=$image
  [[ $now == "$image" ]] || die "not rolled back, because someone deployed another image in the meantime: see scripts/status.sh"
  say "Roll back to revision $1"
  app rollout undo "$deployment" --to-revision="$1" >&2 || die "cannot roll back: restore revision $1 by hand"
  # Check twice, because at first the status may still be that of the failed rollout.
  app rollout status "$deployment" --timeout=25s >&2 || { sleep 2 && app rollout status "$deployment" --timeout=15s >&2; } ||
    die "revision $1 is not healthy either: see scripts/status.sh"
  die "the deployment failed and was rolled back to revision $1: see the errors above"
}

before=$(app get "$deployment" --ignore-not-found \
  --output=jsonpath='{.metadata.annotations.deployment\.kubernetes\.io/revision}') ||
  die "cannot read $deployment in $APP_NAMESPACE: if access was refused, run scripts/authorize-role.sh; then retry the build"

say "Apply deployment.yml with $image"
manifest=$(<deployment.yml)
app apply --filename - <<<"${manifest//CONTAINER_IMAGE/$image}" || roll_back "$before"

say "Wait until all pods run it"
if ! wait_for_rollout; then
  explain || true
  roll_back "$before"
fi
say "Live: $image"
