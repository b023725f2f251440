# shellcheck shell=bash
# The settings that the scripts share. Change one here, or for one command in its environment:
#
#   CLUSTER_NAME=other scripts/create-cluster.sh
#
# The template's parameters have the same defaults, and pass the names on to the builds. Of this file, builds use only
# KUBERNETES_VERSION, if their image has no kubectl: change it here and push. Secrets are not settings: the scripts read
# GITHUB_TOKEN and CONNECTION_ARN only from the environment.

# In a terminal that has read this file before, this reads the values again; what was exported there wins.
forget_settings() {
  local name exported
  exported=$(export -p)
  for name in AWS_REGION CLUSTER_NAME KUBERNETES_VERSION NODE_TYPE NODE_COUNT AUTHENTICATION_MODE KUBECTL_ROLE_NAME \
    STACK_NAME APP_NAMESPACE GITHUB_USER GITHUB_REPO GITHUB_BRANCH; do
    [[ $exported == *" $name="* ]] || unset "$name"
  done
}
forget_settings

: "${AWS_REGION:=us-east-2}"                              # the region of all resources
: "${CLUSTER_NAME:=eksctl-demo}"                          # the name of the EKS cluster
: "${KUBERNETES_VERSION:=1.36}"                           # upgrade one minor version at a time
: "${NODE_TYPE:=t3.medium}"                               # 2 vCPU, 4 GiB, up to 17 pods
: "${NODE_COUNT:=2}"                                      # two, so that the app survives the loss of one
: "${AUTHENTICATION_MODE:=API_AND_CONFIG_MAP}"            # or CONFIG_MAP, or API: how EKS maps IAM roles to users
: "${KUBECTL_ROLE_NAME:=UdacityFlaskDeployCBKubectlRole}" # the IAM role that may deploy
: "${STACK_NAME:=aws-pipeline}"                           # the CloudFormation stack and its pipeline
: "${APP_NAMESPACE:=hello-world}"                         # the app's namespace in the cluster

# Empty: the repository that is the origin of this checkout, and its default branch. An existing stack keeps its own.
: "${GITHUB_USER:=}"
: "${GITHUB_REPO:=}"
: "${GITHUB_BRANCH:=}"

# The origin may have each form that git accepts: a URL, or host:path for ssh, whose host may be an alias of ssh's own.
read_origin() {
  local directory url host path place head
  directory=$(dirname "${BASH_SOURCE[0]}")/.git # named, so that git does not look for a repository around this directory
  url=$(git --git-dir="$directory" remote get-url origin 2>/dev/null) || return 0
  case $url in
    *://*) path=${url#*://} host=${url#*://} host=${host%%/*} path=${path#"$host"} ;;
    *) host=${url%%:*} path=${url#*:} ;;
  esac
  host=${host##*@}
  host=${host%:*}
  place=$(LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"${url%%://*}:$host")
  case $place in
    file:*) return 0 ;;
    *:github.com | *:www.github.com | *:ssh.github.com) ;;
    http:* | https:* | git:*) return 0 ;;
    *:github.com-*) ;;
    *)
      place=$(ssh -G -- "$host" 2>/dev/null) || return 0
      grep -qxE 'hostname (ssh\.)?github\.com' <<<"$place" || return 0
      ;;
  esac
  while [[ $path == */ ]]; do path=${path%/}; done
  [[ ${path%.git} =~ ^/*([^/]+)/+([^/]+)$ ]] || return 0
  : "${GITHUB_USER:=${BASH_REMATCH[1]}}" "${GITHUB_REPO:=${BASH_REMATCH[2]}}"
  head=$(git --git-dir="$directory" symbolic-ref --quiet --short refs/remotes/origin/HEAD 2>/dev/null) ||
    head=$(git --git-dir="$directory" symbolic-ref --quiet --short HEAD 2>/dev/null) || return 0
  : "${GITHUB_BRANCH:=${head#origin/}}"
}
# shellcheck disable=SC2034 # for create-stack.sh
GITHUB_GIVEN="${GITHUB_USER:+GITHUB_USER} ${GITHUB_REPO:+GITHUB_REPO} ${GITHUB_BRANCH:+GITHUB_BRANCH}"
read_origin
unset -f read_origin forget_settings
: "${GITHUB_REPO:=aws_pipeline}" "${GITHUB_BRANCH:=master}" # without an origin

# The AWS CLI needs the region. The rest is exported by the scripts only, so that a change here counts in the same terminal.
export AWS_DEFAULT_REGION=$AWS_REGION
