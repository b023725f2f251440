#!/usr/bin/env bash
# Check what the tutorial needs before it creates anything: tools, account, region, quota, GitHub.
#
# Usage: scripts/preflight.sh [-h]
#
# Settings: all of settings.sh; GITHUB_TOKEN or CONNECTION_ARN, if set in the environment. Changes nothing.
# Prints one line per check, with the remedy if it failed. Exits with 1 if any check failed.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib/common.sh
source scripts/lib/tools.sh
begin '' "$@"
check_source
AWS_MAX_ATTEMPTS=3 # fail a check early rather than wait long

run_check() { # run_check WHAT REMEDY FUNCTION...: the function prints what it found, and fails if that is not enough
  local what=$1 remedy=$2 found error=$work/$1.error
  shift 2
  if found=$("$@" 2>"$error"); then
    printf 'ok      %-11s %s\n' "$what" "$found"
  else
    found=${found:-$(awk 'NF && !/^b.</ { last = $0 } END { print last }' "$error")}
    printf 'FAILED  %-11s %s%s\n' "$what" "${found:-no answer}" "${remedy:+: $remedy}"
  fi
}

start_check() { # in parallel, because most wait for an answer; the lines are printed in order at the end
  checks=$((${checks:-100} + 1))
  run_check "$@" >"$work/line.$checks" &
}

identity() {
  identify
  echo "$account as $caller, region $AWS_REGION"
}

version_offered() {
  aws eks describe-cluster-versions --query 'clusterVersions[].[clusterVersion, versionStatus || status]' --output text >"$work/versions" ||
    return 1
  echo "$KUBERNETES_VERSION, offered: $(cut -f 1 "$work/versions" | sort -t . -k 2n | tr '\n' ' ')"
  awk -v v="$KUBERNETES_VERSION" '$1 == v && toupper($2) ~ /STANDARD/ { found = 1 } END { exit !found }' "$work/versions"
}

type_offered() {
  local zones
  zones=$(aws ec2 describe-instance-type-offerings --location-type availability-zone --output text \
    --filters "Name=instance-type,Values=$NODE_TYPE" --query 'length(InstanceTypeOfferings)') || return 1
  echo "$NODE_TYPE in $zones zones"
  [[ $zones =~ ^[0-9]+$ ]] && ((zones >= 2))
}

quota() { # vCPUs of on-demand standard instances; those that already run use it up too, but AWS does not report them here
  local allowed each
  allowed=$(aws service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A --query Quota.Value --output text) || return 1
  each=$(aws ec2 describe-instance-types --instance-types "$NODE_TYPE" --query 'InstanceTypes[0].VCpuInfo.DefaultVCpus' --output text) || return 1
  [[ ${allowed%.*}:$each =~ ^[0-9]+:[0-9]+$ ]] || return 1
  echo "${allowed%.*} vCPUs allowed, $((NODE_COUNT * each)) needed"
  ((${allowed%.*} >= NODE_COUNT * each))
}

github() { GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/check-github.sh >/dev/null && echo "$GITHUB_USER/$GITHUB_REPO, branch $GITHUB_BRANCH"; }

say "Check what the tutorial needs"
see="as described in the README under \"What you need\""
start_check aws "install version 2 $see" program 1.37.0 aws --version
start_check eksctl "install 0.231 or later $see" program 0.231.0 eksctl version
start_check kubectl "install it within one minor version of the cluster's, $see" kubectl_fits
start_check python3 "install 3.11 or later $see" program 3.11 python3 --version
start_check git "install it $see" program 2.0 git --version
start_check curl "install it $see" program 7.55 curl --version
start_check account '' identity
start_check Kubernetes "set KUBERNETES_VERSION to one in standard support" version_offered
start_check "node type" "set NODE_TYPE to a type that the region offers in at least two zones, or change AWS_REGION" type_offered
start_check "vCPU quota" "request an increase in the console: Service Quotas, EC2, Running On-Demand Standard instances" quota
if [[ -n ${GITHUB_TOKEN:-}${CONNECTION_ARN:-} ]]; then
  start_check GitHub '' github
else
  pending="neither GITHUB_TOKEN nor CONNECTION_ARN is set: create-stack.sh will need one of them"
fi
wait
cat "$work"/line.*
[[ -z ${pending:-} ]] || printf 'not yet %-11s %s\n' GitHub "$pending"
printf 'cost    %s\n' "$(python3 scripts/lib/cost.py "$NODE_TYPE" "$NODE_COUNT")"
failures=$(cat "$work"/line.* | grep -c ^FAILED) || exit 0
die "$failures of the checks failed: fix what they report, then run this again"
