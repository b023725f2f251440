# shellcheck shell=bash
# Checks of what the account and the region allow: each prints what it found, and fails if that is not enough.
# shellcheck disable=SC2154 # account, caller, work: cloud.sh and common.sh

identity() {
  identify
  [[ $caller != *:root ]] || { echo "$account as its root user: work as an IAM user, as described in step 2 of the README" && return 1; }
  echo "$account as $caller, region $AWS_REGION"
}

version_offered() {
  local offered
  aws eks describe-cluster-versions --query 'clusterVersions[].[clusterVersion, versionStatus || status]' --output text >"$work/versions" ||
    return 1
  # shellcheck disable=SC2312 # the scripts set pipefail
  offered=$(cut -f 1 "$work/versions" | sort -t . -k 2n | tr '\n' ' ')
  echo "$KUBERNETES_VERSION, offered: $offered"
  awk -v v="$KUBERNETES_VERSION" '$1 == v && toupper($2) ~ /STANDARD/ { found = 1 } END { exit !found }' "$work/versions"
}

type_offered() {
  local zones
  zones=$(aws ec2 describe-instance-type-offerings --location-type availability-zone --output text \
    --filters "Name=instance-type,Values=$NODE_TYPE" --query 'length(InstanceTypeOfferings)') || return 1
  echo "$NODE_TYPE in $zones zones"
  [[ $zones =~ ^[0-9]+$ ]] && ((zones >= 2))
}

plan() { # an account opened since July 2025 may be on the free plan, whose instances must be of certain types
  local plan types
  [[ ! $AWS_REGION =~ ^(cn|eusc|(us|eu)-(gov|iso[a-z]?))- ]] || { echo "none in this region" && return; }
  plan=$(lookup ResourceNotFoundException aws freetier get-account-plan-state --region us-east-1 --query accountPlanType --output text \
    2>"$work/plan") || {
    cat "$work/plan" >&2
    grep -qiE 'invalid choice|AccessDenied' "$work/plan" || return 1 # an older AWS CLI, or an identity without the right
    echo "of the account; the free plan starts only types that are eligible for the free tier"
    return 3
  }
  [[ $plan == FREE ]] || { echo "${plan:-none}" && return; }
  types=$(aws ec2 describe-instance-types --filters Name=free-tier-eligible,Values=true --output text \
    --query "join(' ', sort(InstanceTypes[].InstanceType))") || return 1
  echo "$plan, which starts only $types"
  [[ " $types " == *" $NODE_TYPE "* ]]
}

quota() { # vCPUs of on-demand standard instances; those that already run use it up too, but AWS does not report them here
  local allowed each
  allowed=$(aws service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A --query Quota.Value --output text) || return 1
  each=$(aws ec2 describe-instance-types --instance-types "$NODE_TYPE" --query 'InstanceTypes[0].VCpuInfo.DefaultVCpus' --output text) || return 1
  [[ ${allowed%.*}:$each =~ ^[0-9]+:[0-9]+$ ]] || return 1
  echo "${allowed%.*} vCPUs allowed, $((NODE_COUNT * each)) needed"
  ((${allowed%.*} >= NODE_COUNT * each))
}
