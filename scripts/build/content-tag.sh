#!/usr/bin/env bash
# Print two tags derived from what decides what the image is, one a line: the same input gives the same tags.
#
# Usage: scripts/build/content-tag.sh
#
# content-… is of the files that Docker sees, with their modes and links; the Dockerfile, its base images and the build
# arguments in the environment, except VERSION; and buildspec.yml, which has the options of the build. A commit that
# changes none of them needs no new image: buildspec.yml deploys the existing one. files-… is of all these but the base
# images, and printed alone if their registry does not answer: a commit that changes no file needs no new image then, too.
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
  for name in $arguments; do
    [[ $name == VERSION || ! $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || printf '%s=%s\n' "$name" "${!name-}"
  done
} >"$work/files"
print_tag() { # print_tag KIND FILE...
  local sum
  sum=$(cat "${@:2}" | python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
  printf '%s-%s\n' "$1" "${sum:0:32}"
}
if bash scripts/build/pull-base.sh --ask >"$work/base"; then
  print_tag content "$work/files" "$work/base"
else
  warn "the registry of the base image does not answer: the last image of the same files is deployed, if there is one"
fi
print_tag files "$work/files"
end
