#!/usr/bin/env bash
# Stand-in for a curl that asks a registry with a password: answers with the files in $FAKES/registry, by tag or digest.
set -euo pipefail
cat >"${FAKES:?}/asked-as"
output=''
while (($# > 1)); do
  [[ $1 != --output ]] || output=$2
  shift
done
if [[ -e $FAKES/registry/${1##*/} ]]; then
  cat "$FAKES/registry/${1##*/}" >"$output"
  echo 200
else
  echo '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"Requested image not found"}]}' >"$output"
  echo 404
fi
