#!/usr/bin/env bash
# Check what the tutorial needs before it creates anything: tools, account, region, quota, GitHub.
#
# Usage: scripts/preflight.sh [-h]
#
# Settings: all of settings.sh; GITHUB_TOKEN or CONNECTION_ARN, and STAGING, if set in the environment. Changes nothing.
# Prints one line per check, with the remedy if it failed. Exits with 1 if any check failed; what cannot be found out is
# "unknown" and stops nothing.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
source scripts/lib/tools.sh
source scripts/lib/allowed.sh
begin '' "$@"
check_source
check_staging
AWS_MAX_ATTEMPTS=3 # fail a check early rather than wait long

run_check() { # run_check WHAT REMEDY FUNCTION...: it prints what it found, and fails if that is not enough (3: unknown)
  local what=$1 remedy=$2 found why='' error=$work/$1.error code=0
  shift 2
  found=$("$@" 2>"$error") || code=$?
  case $code in
    0) printf 'ok      %-11s %s\n' "$what" "$found" ;;
    3) printf 'unknown %-11s %s\n' "$what" "$found" ;;
    *)
      why=$(advice "$(<"$error")") && remedy=$why # the error's own, rather than that of a check that could not be made
      found=${found:-$(awk -v why="$why" 'NF && !/^b.</ && $0 != why { last = $0 } END { print last }' "$error")}
      printf 'FAILED  %-11s %s%s\n' "$what" "${found:-no answer}" "${remedy:+: $remedy}"
      ;;
  esac
}

start_check() { # in parallel, because most wait for an answer; the lines are printed in order at the end
  checks=$((checks + 1))
  run_check "$@" >"$work/line.$checks" &
}

github() {
  local said
  said=$(GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/check-github.sh) || return 1
  [[ $said != *'Not known: '* ]] || { echo "${said#*Not known: }" && return 3; }
  echo "$GITHUB_USER/$GITHUB_REPO, branch $GITHUB_BRANCH"
}

checks=100 pending=''
say "Check what the tutorial needs"
see="as described in the README under \"What you need\""
start_check aws "install version 2 $see" aws_fits
start_check eksctl "install 0.231 or later $see" program 0.231.0 eksctl version
start_check kubectl "install it within one minor version of the cluster's, $see" kubectl_fits
start_check python3 "install 3.11 or later $see" program 3.11 python3 --version
start_check git "install it $see" program 2.0 git --version
start_check curl "install it $see" program 7.55 curl --version
start_check account '' identity
start_check Kubernetes "set KUBERNETES_VERSION to one in standard support" version_offered
start_check "node type" "set NODE_TYPE to a type that the region offers in at least two zones, or change AWS_REGION" type_offered
start_check plan "set NODE_TYPE to one of these with 2 GiB or more, such as t3.small, or upgrade the plan in the Billing console" plan
start_check "vCPU quota" "request an increase in the console: Service Quotas, EC2, Running On-Demand Standard instances" quota
if [[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]]; then
  start_check GitHub '' github
else
  pending="neither GITHUB_TOKEN nor CONNECTION_ARN is set: create-stack.sh will need one of them"
fi
wait
cat "$work"/line.*
[[ -z $pending ]] || printf 'not yet %-11s %s\n' GitHub "$pending"
cost=$(python3 scripts/lib/cost.py "$NODE_TYPE" "$NODE_COUNT")
printf 'cost    %s\n' "$cost"
failures=$(cat "$work"/line.* | grep -c ^FAILED) || end
die "$failures of the checks failed: fix what they report, then run this again"
