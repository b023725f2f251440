#!/usr/bin/env bash
# Deploy an image: apply deployment.yml, wait for its Deployments and ask the app. If one fails, explain why and roll back.
#
# Usage: scripts/build/deploy.sh REPOSITORY@sha256:DIGEST
#        scripts/build/deploy.sh --check
#
#   --check   only check that deployment.yml can be deployed
#
# Takes a digest, because a tag may move to another image. Changes nothing if that digest is already live. Rolls back when
# the cluster refuses an object or says that a Deployment has failed, or the app answers wrongly or not at all; a failing
# network is no such answer.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
# shellcheck source=scripts/lib/rollout.sh
source scripts/lib/rollout.sh
# shellcheck source=scripts/lib/undo.sh
source scripts/lib/undo.sh
# shellcheck source=scripts/lib/answer.sh
source scripts/lib/answer.sh
case ${1:-} in -*) begin --check "$@" ;; *) begin '' ;; esac

image=${1:-}
[[ $# == 1 && ($image == --check || $image =~ ^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$) ]] ||
  refuse "name one image by its digest, as in REPOSITORY@sha256:...: see scripts/build/deploy.sh -h"
require kubectl

read_manifest() { # sets names, deadlines, images, urls and answers, one of each for a Deployment; refuses what cannot be waited for
  local objects kind name paused deadline containers used url answer each placed=''
  # Prints the objects as kubectl reads them, without a cluster; its label is not applied.
  local columns='{.kind}|{.metadata.name}|{.spec.paused}|{.spec.progressDeadlineSeconds}|{.spec..containers[*].name}|'
  objects=$(kubectl label --local --namespace "$APP_NAMESPACE" --filename deployment.yml is=read \
    --output=jsonpath="$columns$used_images|$release_check{\"\\n\"}" 2>&1) || {
    [[ $objects != *'does not match the namespace'* ]] || refuse "deployment.yml: its objects must not set a namespace: APP_NAMESPACE sets it"
    objects=${objects%%$'\n'*}
    refuse "deployment.yml cannot be read: ${objects#error: }: fix it"
  }
  names=() deadlines=() images=() urls=() answers=()
  while IFS='|' read -r kind name paused deadline containers used url answer; do
    [[ -z $containers || $kind == Deployment ]] ||
      refuse "deployment.yml: $kind $name runs pods, but only the rollout of a Deployment can be waited for and undone: leave it out"
    [[ $kind == Deployment ]] || continue
    [[ $name =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || refuse "deployment.yml: $(printf %q "$name") is not the name of a Deployment"
    [[ $paused != true ]] || refuse "deployment.yml: the Deployment $name is paused, so it never rolls out: remove \"paused: true\""
    for each in $used; do
      [[ $each != CONTAINER_IMAGE ]] || placed=1
      [[ $each != ?*CONTAINER_IMAGE* && $each != CONTAINER_IMAGE?* ]] ||
        refuse "deployment.yml: the image $each has more than CONTAINER_IMAGE, which the build replaces with repository and digest"
    done
    [[ -z $url$answer || $url =~ ^[a-z]([a-z0-9-]*[a-z0-9])?:[a-z0-9-]+/[!-~]*$ ]] ||
      refuse "deployment.yml: release-check/url must be SERVICE:PORT/PATH, as in shop:http/version, not $(printf %q "$url")"
    names+=("$name") deadlines+=("${deadline:-600}") images+=("${used//CONTAINER_IMAGE/$image}") # 600 is Kubernetes' default
    urls+=("$url") answers+=("${answer//CONTAINER_IMAGE/$image}")
  done <<<"$objects"
  ((${#names[@]})) || refuse "deployment.yml has no Deployment: add one whose image is CONTAINER_IMAGE"
  [[ -n $placed ]] || refuse "deployment.yml: no container of a Deployment has the image CONTAINER_IMAGE, where the digest goes: set it"
}

read_manifest
[[ $image != --check ]] || { say "deployment.yml can be deployed: ${names[*]}" && end; }
note_what_runs

say "Apply deployment.yml with $image"
manifest=$(<deployment.yml)
printf '%s\n' "${manifest//CONTAINER_IMAGE/$image}" >"$work/deployment.yml"
if ! ask apply --filename "$work/deployment.yml"; then
  refused || give_up "whether all of deployment.yml was applied"
  roll_back
fi
note_what_was_applied

say "Wait until all pods run it"
for number in "${!names[@]}"; do
  { wait_for_rollout "${names[number]}" "${deadlines[number]}" &&
    check_answer "${names[number]}" "${urls[number]}" "${answers[number]}"; } || { explain || true && roll_back; }
done
say "Live: $image"
end
