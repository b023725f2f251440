#!/usr/bin/env bash
# Log Docker in to ECR, and find the image of a commit, or else one of the same content.
#
# Usage: scripts/build/find-image.sh REPOSITORY COMMIT
#
# Prints its digest, or None, and then the tags of the content, one a line. Writes its bill of materials to bom.json if
# that is a layer of its own. Asks the registry with the password that Docker logs in with, so the AWS CLI starts once:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html#registry_auth_http
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

uri=${1:-} commit=${2:-}
[[ $# == 2 && $uri =~ ^[a-z0-9][a-zA-Z0-9._:-]*/[a-z0-9][a-z0-9._/-]*$ && $commit =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
  refuse "name a repository and a commit: see scripts/build/find-image.sh -h"
require aws curl docker python3

docker=application/vnd.docker.distribution.manifest oci=application/vnd.oci.image
get() { # get PATH FILE: prints the status of the answer; a failing network is none
  printf 'user = "AWS:%s"\n' "$password" |
    curl --config - --silent --show-error --location --proto '=https' --retry 5 --retry-all-errors --connect-timeout 10 --max-time 60 \
      --header "Accept: $docker.v2+json, $docker.list.v2+json, $oci.manifest.v1+json, $oci.index.v1+json" \
      --output "$2" --write-out '%{http_code}' "https://${uri%%/*}/v2/${uri#*/}/$1"
}

get_blob() { # get_blob DIGEST FILE: an error of the registry has another digest
  get "blobs/$1" "$2" >/dev/null && echo "${1#sha256:}  $2" | sha256sum --check --status
}

bash scripts/build/content-tag.sh >"$work/tags" &
password=$(aws ecr get-login-password) || password=''
wait "$!" || die "not known which image has the content of this commit: see the error above"
[[ -n $password ]] || die "ECR gave no password: fix the error above, then retry the build"
printf '%s' "$password" | docker login --username AWS --password-stdin "${uri%%/*}" >&2

digest=None
for tag in "$commit" "$(head -n 1 "$work/tags")"; do
  status=$(get "manifests/$tag" "$work/manifest") || die "the registry does not answer: see the error above, then retry the build"
  if [[ $status == 404 ]] && grep -qF MANIFEST_UNKNOWN "$work/manifest"; then continue; fi # there is no such image
  if [[ $status == 200 ]] && digest=$(python3 scripts/lib/image.py digest "$work/manifest"); then break; fi
  head -c 1000 "$work/manifest" >&2
  die "the registry answered $status to the question for tag $tag: see its answer above, then retry the build"
done
rm -f bom.json
if [[ $digest != None ]] && config=$(python3 scripts/lib/image.py config "$work/manifest") && get_blob "$config" "$work/config" &&
  layer=$(python3 scripts/lib/image.py bill "$work/manifest" "$work/config") && get_blob "$layer" "$work/layer"; then
  tar -xzOf "$work/layer" bom.json >"$work/bom.json"
  mv "$work/bom.json" .
fi
printf '%s\n' "$digest" && cat "$work/tags"
end
