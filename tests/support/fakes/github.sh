#!/usr/bin/env bash
# Stand-in for curl to api.github.com: answers by ANSWER, "STATUS SCOPES", for webhooks and branches with the statuses HOOKS
# and BRANCHES, if set, with the lines of HEADERS, and keeps its standard input.
set -euo pipefail
cat >>"${FAKES:?}/curl.config"
headers='' body='' url=${!#}
while (($#)); do
  case $1 in
    --dump-header) headers=$2 ;;
    --output) body=$2 ;;
    --version) echo 'curl 8.5.0' && exit ;;
  esac
  shift
done
status=${ANSWER:?} && status=${status%% *} scopes=${ANSWER#* }
[[ $url != */hooks ]] || status=${HOOKS:-$status}
[[ $url != */branches/* ]] || status=${BRANCHES:-$status}
[[ $url != */repositories/* && $url == *"${ABOUT:-}"* ]] || status=200
printf 'HTTP/2 %s\r\n' "$status" >"$headers"
[[ $scopes == none ]] || printf 'x-oauth-scopes: %s\r\n' "$scopes" >>"$headers"
[[ -z ${HEADERS:-} ]] || printf '%s\r\n' "$HEADERS" >>"$headers"
permitted='{"permissions": {"admin": true}}'
printf '%s' "${BODY:-$permitted}" >"$body"
printf '%s' "$status"
