# shellcheck shell=bash
# The settings that the scripts share. Change one here, or for one command in its environment:
#
#   CLUSTER_NAME=other scripts/create-cluster.sh
#
# The template's parameters have the same defaults, and pass the names on to the builds. Of this file, builds use only
# KUBERNETES_VERSION, if their image has no kubectl: change it here and push. Secrets are not settings: the scripts read GITHUB_TOKEN and
# CONNECTION_ARN only from the environment.

: "${AWS_REGION:=us-east-2}"                              # the region of all resources
: "${CLUSTER_NAME:=eksctl-demo}"                          # the name of the EKS cluster
: "${KUBERNETES_VERSION:=1.36}"                           # upgrade one minor version at a time
: "${NODE_TYPE:=t3.medium}"                               # 2 vCPU, 4 GiB, up to 17 pods
: "${NODE_COUNT:=2}"                                      # two, so that the app survives the loss of one
: "${AUTHENTICATION_MODE:=API_AND_CONFIG_MAP}"            # or CONFIG_MAP, or API: how EKS maps IAM roles to users
: "${KUBECTL_ROLE_NAME:=UdacityFlaskDeployCBKubectlRole}" # the IAM role that may deploy
: "${STACK_NAME:=aws-pipeline}"                           # the CloudFormation stack and its pipeline
: "${APP_NAMESPACE:=hello-world}"                         # the app's namespace in the cluster

# The GitHub repository defaults to the origin of this checkout.
read_origin() {
  local url head pattern='github\.com[:/]([^/]+)/([^/]+)$'
  url=$(git -C "$(dirname "${BASH_SOURCE[0]}")" remote get-url origin 2>/dev/null) || return 0
  url=${url%/}
  [[ ${url%.git} =~ $pattern ]] || return 0
  : "${GITHUB_USER:=${BASH_REMATCH[1]}}" "${GITHUB_REPO:=${BASH_REMATCH[2]}}"
  head=$(git -C "$(dirname "${BASH_SOURCE[0]}")" symbolic-ref --quiet --short refs/remotes/origin/HEAD 2>/dev/null) ||
    head=$(git -C "$(dirname "${BASH_SOURCE[0]}")" symbolic-ref --quiet --short HEAD 2>/dev/null) || return 0
  : "${GITHUB_BRANCH:=${head#origin/}}"
}
read_origin
unset -f read_origin
: "${GITHUB_USER:=}" "${GITHUB_REPO:=aws_pipeline}" "${GITHUB_BRANCH:=master}"

export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION CLUSTER_NAME KUBERNETES_VERSION NODE_TYPE NODE_COUNT
export AUTHENTICATION_MODE KUBECTL_ROLE_NAME STACK_NAME APP_NAMESPACE GITHUB_USER GITHUB_REPO GITHUB_BRANCH
