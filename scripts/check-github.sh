#!/usr/bin/env bash
# Check that the repository and the branch exist on GitHub, and that AWS will be able to read them.
#
# Usage: scripts/check-github.sh [-h]
#
# Settings: AWS_REGION, GITHUB_USER, GITHUB_REPO, GITHUB_BRANCH. Also reads GITHUB_TOKEN or CONNECTION_ARN from the environment.
# No call shows what a connection may read. GitHub shows everyone a public repository; of others, the result is not known.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/github.sh
uses=(AWS_REGION GITHUB_USER GITHUB_REPO GITHUB_BRANCH)
begin '' "$@"
check_source
require aws curl python3

repository=/repos/$GITHUB_USER/$GITHUB_REPO
branch=$repository/branches/$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$GITHUB_BRANCH")

check_token() {
  get "$repository"
  check_repository
  python3 -c 'import json, sys; sys.exit(json.load(sys.stdin).get("permissions", {}).get("admin", True) is not True)' \
    <"$work/body" 2>/dev/null || die "GITHUB_TOKEN: its owner may not manage the webhooks of $GITHUB_USER/$GITHUB_REPO; fork it, or ask for the admin role"
  check_scopes
  check_branch
}

check_scopes() { # to read the repository and manage its webhooks: https://docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
  local scopes
  if ! grep -qi '^x-oauth-scopes:' "$work/headers"; then # a fine-grained token has permissions, which only a call shows
    get "$repository/hooks"
    [[ $code == 200 ]] || die "GITHUB_TOKEN: it may not manage the webhooks of $GITHUB_USER/$GITHUB_REPO; give it the permissions Contents (read) and Webhooks (write)"
    return
  fi
  scopes=$(header x-oauth-scopes)
  case ", $scopes," in
    *", repo,"* | *", admin:repo_hook,"*" public_repo,"* | *", public_repo,"*" admin:repo_hook,"*) ;;
    *) die "GITHUB_TOKEN: its scopes are \"$scopes\"; create one with the scopes repo and admin:repo_hook" ;;
  esac
}

check_connection() {
  local service state
  service=${CONNECTION_ARN#*:*:} service=${service%%:*} # of older connections, codestar-connections
  state=$(lookup ResourceNotFoundException aws "$service" get-connection --connection-arn "$CONNECTION_ARN" \
    --query Connection.ConnectionStatus --output text) || die "CONNECTION_ARN: the connection cannot be read: fix the error above"
  [[ -n $state ]] || die "CONNECTION_ARN: the connection does not exist in $AWS_REGION; check the ARN"
  [[ $state == AVAILABLE ]] ||
    die "CONNECTION_ARN: the connection is $state; complete it in the console: Developer Tools, Settings, Connections, Update pending connection"
  if ! ask "$repository" || [[ $code != 200 && $code != 30? ]]; then
    say "Not known: whether $GITHUB_USER/$GITHUB_REPO exists: GitHub does not show it to everyone, so it is private, misspelt or out of reach"
    return
  fi
  check_repository
  check_branch
}

say "Check $GITHUB_USER/$GITHUB_REPO, branch $GITHUB_BRANCH, on GitHub"
if [[ -n ${CONNECTION_ARN:-} ]]; then check_connection; elif [[ -n ${GITHUB_TOKEN:-} ]]; then check_token; fi
end
