#!/usr/bin/env bash
# Pull the images that the Dockerfile takes files from, unless they are there, and print each with its content's digest.
#
# Usage: scripts/build/pull-base.sh [--ask]
#
#   --ask   pull nothing: ask the registry for the digest of what is not there
#
# Builds in parallel then do not pull: public.ecr.aws answers callers who are not signed in once a second, and builds share
# their addresses with others: https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
begin --ask "$@"
require docker python3

again() { # again COMMAND...: until it succeeds, for half a minute
  local pause
  for pause in 2 4 8 16 0; do
    "$@" && return
    ((pause == 0)) || sleep "$pause.$((RANDOM % 10))"
  done
  die "cannot get ${*: -1}: see the errors above, then retry the build"
}

ask() { # ask IMAGE: prints the digest of its configuration for this engine's platform, which Docker calls its Id
  local platform manifest
  platform=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}') || return
  again docker manifest inspect "$1" >"$work/manifest"
  manifest=$(python3 scripts/lib/image.py "$platform" "$work/manifest") || return
  [[ -z $manifest ]] || again docker manifest inspect "$1@$manifest" >"$work/manifest"
  python3 scripts/lib/image.py config "$work/manifest"
}

# Those of FROM, COPY --from and RUN --mount, except stages. An argument in a name has its value in the environment, or its default.
images=$(awk '
  function fill(text, name, filled) {
    while (match(text, /[$][{]?[A-Za-z_][A-Za-z0-9_]*[}]?/)) {
      name = substr(text, RSTART, RLENGTH); gsub(/[${}]/, "", name)
      filled = filled substr(text, 1, RSTART - 1) (name in ENVIRON ? ENVIRON[name] : defaults[name])
      text = substr(text, RSTART + RLENGTH)
    }
    return filled text
  }
  function use(name) { name = fill(name); if (!(tolower(name) in stages) && name !~ /^(scratch|[0-9]*)$/) print name }
  /^[ \t]*#/ { next }
  { continues = goes_on; goes_on = /\\[ \t\r]*$/; sub(/\r$/, "") }
  match($0, /from=[^ ,\\]+/) && /--(from|mount)=/ { use(substr($0, RSTART + 5, RLENGTH - 5)) }
  continues { next }
  toupper($1) == "ARG" { for (i = 2; i <= NF; i++) { at = index($i, "="); value = substr($i, at + 1); gsub(/["\047]/, "", value)
    if (at) defaults[substr($i, 1, at - 1)] = value } }
  toupper($1) == "FROM" { i = 2; while ($i ~ /^--/) i++; use($i); if (toupper($(i + 1)) == "AS") stages[tolower($(i + 2))] }
' Dockerfile | sort -u)
for image in $images; do
  if ! id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null); then
    if [[ ${1:-} == --ask ]]; then
      id=$(ask "$image")
    else
      again docker pull --quiet "$image" >&2
      id=$(docker image inspect --format '{{.Id}}' "$image")
    fi
  fi
  printf '%s %s\n' "$image" "$id"
done
end
