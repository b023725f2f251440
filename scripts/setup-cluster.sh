#!/usr/bin/env bash
# Set up the cluster: run the preflight checks, create the cluster and the role, and authorise the role to deploy.
#
# Usage: scripts/setup-cluster.sh [-h]
#
# Settings: all of settings.sh. Takes about 20 minutes. After a failure, fix the cause and run it again.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
begin '' "$@"

GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/preflight.sh
scripts/create-cluster.sh
scripts/create-role.sh
scripts/authorize-role.sh
say "The cluster is ready for the pipeline: continue with scripts/create-stack.sh"
end
