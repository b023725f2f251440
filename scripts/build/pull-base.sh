#!/usr/bin/env bash
# Pull the images that the Dockerfile starts from, unless they are there, so that builds in parallel do not.
#
# Usage: scripts/build/pull-base.sh
#
# public.ecr.aws answers callers who are not signed in once a second, and builds share their addresses with others:
# https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
begin '' "$@"
require docker

pull() {
  local pause
  for pause in 2 4 8 16 0; do
    docker pull --quiet "$1" && return
    ((pause == 0)) || sleep "$pause.$((RANDOM % 10))"
  done
  die "cannot pull $1: see the errors above, then retry the build"
}

while IFS= read -r image; do
  docker image inspect "$image" >/dev/null 2>&1 || pull "$image"
done < <(awk 'toupper($1) == "FROM" { # not the stages of the Dockerfile, nor a name that an ARG completes
    if (!($2 in stages) && $2 !~ /^(--|scratch$)|[$]/) print $2
    stages[$NF]
  }' Dockerfile)
