#!/usr/bin/env bash
# Print a tag derived from everything that decides what the image is: the same input gives the same tag.
#
# Usage: scripts/build/content-tag.sh
#
# That is: the files that Docker sees, with their modes and links; the Dockerfile, its base images and the build arguments
# in the environment, except VERSION; and buildspec.yml, which has the options of the build. A commit that changes none of
# them needs no new image: buildspec.yml deploys the existing one.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
begin '' "$@"
require docker python3

# Docker copies out what it sees, so that .dockerignore means here what it means to Docker.
mkdir "$work/docker"
printf 'FROM scratch\nCOPY . /\n' >"$work/docker/Dockerfile"
[[ ! -f Dockerfile.dockerignore ]] || cp Dockerfile.dockerignore "$work/docker/"
checkout=$PWD
cd "$work" # so that the paths among the options have no special character
DOCKER_BUILDKIT=1 docker build --quiet --file docker/Dockerfile --output context "$checkout" >log 2>&1 || {
  cat log >&2
  die "Docker cannot read the files of the image: fix the error above, for example in .dockerignore"
}
cd "$checkout"
arguments=$(awk 'toupper($1) == "ARG" { for (i = 2; i <= NF; i++) { sub(/=.*/, "", $i); print $i } }' Dockerfile | sort -u)
{
  python3 scripts/lib/list_files.py "$work/context"
  cat Dockerfile buildspec.yml
  bash scripts/build/pull-base.sh
  for name in $arguments; do
    [[ $name == VERSION || ! $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || printf '%s=%s\n' "$name" "${!name-}"
  done
} >"$work/inputs"
sum=$(python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$work/inputs")
printf 'content-%s\n' "${sum:0:32}"
