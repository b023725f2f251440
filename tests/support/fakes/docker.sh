#!/usr/bin/env bash
# Stand-in for the calls of content-tag.sh: copies the paths that .dockerignore lists, and has the base image. As in Docker,
# the Dockerfile's own .dockerignore goes before that of the directory.
set -euo pipefail
case $* in
  "build "*" --output context "*)
    [[ ${DOCKER_BUILDKIT:-} == 1 ]] || { echo 'unknown flag: --output, which only BuildKit has' >&2 && exit 125; }
    file=$* && file=${file#*--file } && file=$PWD/${file%% *}
    [[ $(<"$file") == $'FROM scratch\nCOPY . /' ]] || { echo 'ERROR: not a Dockerfile that copies all files' >&2 && exit 1; }
    listed=$file.dockerignore
    [[ -e $listed ]] || listed=.dockerignore
    target=$PWD/context
    mkdir "$target"
    cd "${@: -1}"
    # shellcheck disable=SC2312 # a file without such lines
    while IFS= read -r path; do
      [[ -n $path ]] || { echo 'ERROR: illegal exclusion pattern: "!"' >&2 && exit 1; }
      [[ ! -e ./$path && ! -L ./$path ]] || cp --archive --parents -- "./$path" "$target"
    done < <(sed -n 's/^!//p' "$listed")
    ;;
  "image inspect --format {{.Id}} "*) echo "sha256:${BASE:-base}" ;;
esac
