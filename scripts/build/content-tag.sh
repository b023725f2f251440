#!/usr/bin/env bash
# Print a tag that is made of all that goes into the image and its tests: the same files, the same tag.
#
# Usage: scripts/build/content-tag.sh
#
# A commit that changes none of them needs no new image; buildspec.yml then deploys the one that there is.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."
source scripts/lib/common.sh
begin '' "$@"

# .dockerignore excludes everything and then names what Docker may see.
paths=(Dockerfile .dockerignore)
while IFS= read -r path; do
  paths+=("./$path") # it may begin with a hyphen
done < <(sed -n 's/^!//p' .dockerignore)

sha256=(sha256sum)
type -P sha256sum >/dev/null || sha256=(shasum -a 256) # macOS
sums=$(find "${paths[@]}" -type f -exec "${sha256[@]}" {} + | LC_ALL=C sort -k 2)
sum=$("${sha256[@]}" <<<"$sums")
printf 'content-%s\n' "${sum:0:32}"
