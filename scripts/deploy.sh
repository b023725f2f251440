#!/usr/bin/env bash
# Make an image live: apply deployment.yml, wait for the rollout; if it fails, say why and go back to what was.
#
# Usage: scripts/deploy.sh REPOSITORY@sha256:DIGEST
#
# By digest, because a tag may mean another image tomorrow. Nothing changes where that digest is live already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

image=${1:-} deployment=deployment/hello-world
[[ $# == 1 && $image =~ ^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$ ]] ||
  refuse "name one image by its digest, as in REPOSITORY@sha256:...: see scripts/deploy.sh -h"
require kubectl

app() { kubectl --namespace "$APP_NAMESPACE" "$@"; }

explain() { # what the cluster knows about the failure, before the undo removes it
  local pod pods
  warn "--- pods"
  app get pods --sort-by=.metadata.creationTimestamp --output=wide >&2
  warn "--- events"
  app get events --field-selector=type!=Normal --sort-by=.metadata.creationTimestamp >&2
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
  [[ -n $1 ]] || die "the first deployment failed, so there is nothing to go back to: what was made stays, for you to look at"
  say "Undo: back to revision $1"
  app rollout undo "$deployment" --to-revision="$1" >&2 || die "cannot undo: revision $1 has to be brought back by hand"
  app rollout status "$deployment" --timeout=40s >&2 || die "revision $1 is not healthy either: see scripts/status.sh"
  die "the deployment failed, for the reason above, and was undone: revision $1 serves as before"
}

before=$(app get "$deployment" --ignore-not-found \
  --output=jsonpath='{.metadata.annotations.deployment\.kubernetes\.io/revision}') ||
  die "cannot read $deployment in $APP_NAMESPACE: run scripts/authorize-role.sh, then retry the build"

say "Apply deployment.yml with $image"
manifest=$(<deployment.yml)
app apply --filename - <<<"${manifest//CONTAINER_IMAGE/$image}" || go_back "$before"

say "Wait until all pods run it"
# A little longer than progressDeadlineSeconds in deployment.yml, so that the cluster says itself what it waits for.
if ! app rollout status "$deployment" --timeout=75s; then
  explain || true
  go_back "$before"
fi
say "Live: $image"
