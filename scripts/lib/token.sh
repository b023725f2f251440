#!/usr/bin/env bash
# Print a token for the cluster: the credential plugin of kube in cloud.sh.
#
# Usage: scripts/lib/token.sh CLUSTER_NAME FILE
#
# Keeps the token in FILE and prints it for ten minutes, because the AWS CLI takes up to a second to make one and kubectl
# asks at each call. EKS accepts a token for 15 minutes.
set -euo pipefail
if [[ -z $(find "$2" -mmin -10 2>/dev/null || true) ]]; then
  aws eks get-token --cluster-name "$1" --output json >"$2.$$"
  mv "$2.$$" "$2"
fi
cat "$2"
