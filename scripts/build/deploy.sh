#!/usr/bin/env bash
# Make an image live: apply deployment.yml, wait for the rollout; if it fails, say why and go back to what was.
#
# Usage: scripts/build/deploy.sh REPOSITORY@sha256:DIGEST
#
# By digest, because a tag may mean another image tomorrow. Nothing changes where that digest is live already.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

image=${1:-} deployment=deployment/hello-world
[[ $# == 1 && $image =~ ^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$ ]] ||
  refuse "name one image by its digest, as in REPOSITORY@sha256:...: see scripts/build/deploy.sh -h"
[[ $(sed -n 's/^[ -]*image: *//p' deployment.yml 2>/dev/null) == CONTAINER_IMAGE ]] ||
  refuse "deployment.yml must have one line \"image: CONTAINER_IMAGE\", where the digest goes: see git diff deployment.yml"
require kubectl

app() { kubectl --namespace "$APP_NAMESPACE" "$@"; }

hopeless() { # say which pod of the newest revision waits for what waiting does not bring; fails if none does
  local columns='{.metadata.annotations.deployment\.kubernetes\.io/revision}{"\t"}{.metadata.labels.pod-template-hash}{"\t"}'
  columns+='{.metadata.name}{"\t"}{.status.containerStatuses[0].restartCount}{"\t"}'
  columns+='{.status.containerStatuses[0].state.waiting.reason}{"\t"}{.status.containerStatuses[0].state.waiting.message}'
  # A registry that does not answer may do so soon, and a first crash may be an accident; these are neither.
  app get replicasets,pods --output=jsonpath="{range .items[*]}$columns{\"\\n\"}{end}" | awk -F '\t' '
    $1 > newest { newest = $1 + 0; hash = $2 }
    $1 == "" && $2 == hash && ($5 ~ /ImagePull/ && $6 ~ /not found/ || $5 == "CrashLoopBackOff" && $4 >= 2 ||
      $5 ~ /^(InvalidImageName|CreateContainerConfigError)$/) { print $3 ": " $5 ", " $6; found = 1 }
    END { exit !found }' >&2
}

await_rollout() { # fails when the rollout has failed, and as soon as it is hopeless
  # A little longer than progressDeadlineSeconds in deployment.yml, so that the cluster says itself what it waits for.
  local end=$((SECONDS + 65))
  until app rollout status "$deployment" --timeout=10s 2>"$work/status"; do
    if ! grep -q 'timed out' "$work/status" || ((SECONDS > end)); then
      cat "$work/status" >&2
      return 1
    fi
    ! hopeless || return 1
  done
}

explain() { # what the cluster knows about the failure, before the undo removes it
  local pod pods
  warn "--- pods"
  app get pods --sort-by=.metadata.creationTimestamp --output=wide >&2
  warn "--- events"
  app get events --field-selector=type!=Normal --sort-by=.metadata.creationTimestamp | tail -n 30 >&2
  pods=$(app get pods --sort-by=.metadata.creationTimestamp --output \
    jsonpath='{range .items[*]}{.metadata.name} {.status.containerStatuses[0].ready}{"\n"}{end}') || return 0
  # The newest two that are not ready: the pods of one version fail for one reason.
  for pod in $(awk '$2 != "true" { print $1 }' <<<"$pods" | tail -n 2); do
    warn "--- $pod"
    app describe pod "$pod" >&2
    warn "--- log of $pod"
    app logs "$pod" --tail=50 >&2
    warn "--- log of its container before the last restart"
    app logs "$pod" --tail=50 --previous >&2
  done
}

go_back() { # go_back REVISION
  [[ -n $1 ]] || die "the first deployment failed, so there is nothing to roll back to: its pods are kept for you to inspect"
  local now
  now=$(app get "$deployment" --output=jsonpath='{.spec.template.spec.containers[0].image}') || now=$image
  [[ $now == "$image" ]] || die "not rolled back, because someone deployed another image in the meantime: see scripts/status.sh"
  say "Roll back to revision $1"
  app rollout undo "$deployment" --to-revision="$1" >&2 || die "cannot roll back: restore revision $1 by hand"
  # Looks twice: at once, the verdict on what was undone may still stand.
  app rollout status "$deployment" --timeout=25s >&2 || { sleep 2 && app rollout status "$deployment" --timeout=15s >&2; } ||
    die "revision $1 is not healthy either: see scripts/status.sh"
  die "the deployment failed and was rolled back to revision $1: see the errors above"
}

before=$(app get "$deployment" --ignore-not-found \
  --output=jsonpath='{.metadata.annotations.deployment\.kubernetes\.io/revision}') ||
  die "cannot read $deployment in $APP_NAMESPACE: if access was refused, run scripts/authorize-role.sh; then retry the build"

say "Apply deployment.yml with $image"
manifest=$(<deployment.yml)
app apply --filename - <<<"${manifest//CONTAINER_IMAGE/$image}" || go_back "$before"

say "Wait until all pods run it"
if ! await_rollout; then
  explain || true
  go_back "$before"
fi
say "Live: $image"
