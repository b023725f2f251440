#!/usr/bin/env bash
# Do the whole first part: check everything, create the cluster and the role, and let the role deploy.
#
# Usage: scripts/setup-cluster.sh [-h]
#
# Settings: all of settings.sh. About 20 minutes. It can be run again at any time, and does only what is missing.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/.."
source scripts/lib/common.sh
begin '' "$@"

GITHUB_TOKEN=${GITHUB_TOKEN:-} scripts/preflight.sh
scripts/create-cluster.sh
scripts/create-role.sh
scripts/authorize-role.sh
say "The cluster is ready for the pipeline: continue with scripts/create-stack.sh"
