#!/usr/bin/env bash
# Print a tag derived from every file that goes into the image and its tests: the same files give the same tag.
#
# Usage: scripts/build/content-tag.sh
#
# A commit that changes none of them needs no new image: buildspec.yml deploys the existing one.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
begin '' "$@"

# .dockerignore excludes everything, then lists what Docker may see.
paths=(Dockerfile .dockerignore)
while IFS= read -r path; do
  paths+=("./$path") # a path may start with a hyphen
done < <(sed -n 's/^!//p' .dockerignore)

sha256=(sha256sum)
type -P sha256sum >/dev/null || sha256=(shasum -a 256) # macOS
sums=$(find "${paths[@]}" -type f -exec "${sha256[@]}" {} + | sort -k 2)
sum=$("${sha256[@]}" <<<"$sums")
printf 'content-%s\n' "${sum:0:32}"
