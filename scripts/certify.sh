#!/usr/bin/env bash
# Run the README's commands in your AWS account, from step 3 to the teardown, and report what differs from the README.
#
# Usage: scripts/certify.sh [--yes | --teardown] [-h]
#
#   --yes       start without confirmation
#   --teardown  delete what an interrupted run has left
#
# Settings: all of settings.sh; GITHUB_TOKEN or CONNECTION_ARN from the environment; CERTIFY_MINUTES, 1 to 480, the time
# after which it stops (180 by default). It deletes everything afterwards, also after Ctrl-C or a failure. It works on a
# branch of its own. The report, .certify/report-TIME.json, has no account number, name, address or secret in it.
# Exit codes: 0 all was as the README says, 1 something was not, 2 wrong arguments or settings.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/tools.sh
source scripts/lib/confirm.sh
begin '--yes --teardown' "$@"
! has_option --yes "$@" || ! has_option --teardown "$@" || refuse "--yes and --teardown are both given: pass one of them"
: "${CERTIFY_MINUTES:=180}"
[[ $CERTIFY_MINUTES =~ ^([1-9][0-9]?|[1-3][0-9][0-9]|4[0-7][0-9]|480)$ ]] ||
  refuse "$(printf 'CERTIFY_MINUTES is %q: set it to a number from 1 to 480, in the environment' "${CERTIFY_MINUTES:0:60}")"

check_tools() {
  require aws eksctl kubectl git docker curl python3
  program 3.11 python3 --version >/dev/null || die "python3 is too old: install 3.11 or later as described in the README under \"What you need\""
}

continue_as() { # continue_as [OPTION]: becomes the program that runs the commands; it gets the signals
  rm -rf "$work"
  [[ -z ${GITHUB_TOKEN:-} ]] || export GITHUB_TOKEN
  export CERTIFY_MINUTES CERTIFY_ACCOUNT=$account CERTIFY_CALLER=$caller
  exec python3 -S -m scripts.lib.certify "$@" # -S, because an installed package may be called scripts, too
}

confirm() {
  printf 'This runs the README from step 3 to the teardown, in account %s, region %s. It creates:\n' "$account" "$AWS_REGION"
  printf '  the cluster %s with %s %s\n  the role %s\n  the stack %s\n' \
    "$CLUSTER_NAME" "$NODE_COUNT" "$NODE_TYPE" "$KUBECTL_ROLE_NAME" "$STACK_NAME"
  printf '  a branch of %s/%s on GitHub, with three commits\n' "$GITHUB_USER" "$GITHUB_REPO"
  printf 'It stops after %s minutes at the latest, and deletes all of this within 60 more: at most %s before tax.\n' \
    "$CERTIFY_MINUTES" "$cost"
  ask_for_name created
}

check_free() { # everything that is deleted in the end must be of this run
  local container
  scripts/leftovers.sh || die "certify.sh would delete the resources above: run scripts/teardown.sh first, or set other names"
  container=$(docker ps --all --quiet --filter 'name=^/?greeting$') || die "Docker does not answer: start it, because step 10 uses it"
  [[ -z $container ]] || die "there is a container named greeting, which step 10 would make: remove it first"
}

if has_option --teardown "$@"; then
  check_tools
  identify
  continue_as --teardown
fi
check_source
[[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]] || refuse "neither GITHUB_TOKEN nor CONNECTION_ARN is set: set one, as in step 7 of the README"
cost=$(python3 scripts/lib/cost.py "$NODE_TYPE" "$NODE_COUNT" $((CERTIFY_MINUTES + 60)))
[[ $cost != unknown ]] || refuse "NODE_TYPE is $NODE_TYPE, whose price is unknown: set it to a type in scripts/lib/cost.py"
check_terminal start "$@"
[[ -e .git ]] || refuse "this directory is no clone of a repository, which certify.sh commits to: clone your fork, as in step 1 of the README"
git diff --quiet HEAD || refuse "files differ from the last commit, which a report is about: commit them, or undo the changes"
git var GIT_COMMITTER_IDENT >/dev/null 2>&1 || refuse "git does not know who commits: set user.name and user.email with git config"
check_tools
identify
has_option --yes "$@" || confirm
say "Stop after $CERTIFY_MINUTES minutes at the latest; everything costs at most $cost"
check_free
continue_as
