#!/usr/bin/env bash
# Install a kubectl that supports the cluster's version, unless the one on PATH does.
#
# Usage: scripts/build/install-kubectl.sh DIRECTORY
#
# kubectl may be one minor version older or newer than the cluster (https://kubernetes.io/releases/version-skew-policy/).
# Without a kubectl to query the cluster with, assumes that its version is KUBERNETES_VERSION.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

directory=${1:-}
[[ $# == 1 && -n $directory && $directory != -* ]] || refuse "name a directory: see scripts/build/install-kubectl.sh -h"

minor=${KUBERNETES_VERSION#1.}
if type -P kubectl >/dev/null; then
  versions=$(kubectl --context deployer version --output=json --request-timeout=30s) ||
    die "kubectl cannot query the cluster: if it reports Unauthorized, aws-auth does not list this role; run scripts/authorize-role.sh"
  # The client's, then the server's.
  minors=$(sed -n 's/.*"minor": "\([0-9]*\).*/\1/p' <<<"$versions" | xargs)
  read -r installed minor <<<"$minors"
  [[ $installed =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] || die "kubectl does not report the cluster's version"
  if ((installed - minor <= 1 && minor - installed <= 1)); then
    say "kubectl 1.$installed supports the cluster's version, 1.$minor"
    end
  fi
fi

require curl
machine=$(uname -m)
case $machine in
  x86_64 | amd64) architecture=amd64 ;;
  aarch64 | arm64) architecture=arm64 ;;
  *) die "there is no kubectl for $machine" ;;
esac
system=$(uname -s | tr '[:upper:]' '[:lower:]')

fetch() { # fetch PATH FILE
  curl --fail --silent --show-error --location --proto '=https' --retry 3 --connect-timeout 10 --max-time 120 \
    --output "$2" "https://dl.k8s.io/release/$1" || die "cannot fetch https://dl.k8s.io/release/$1: check the network, and HTTPS_PROXY if you use a proxy"
}

fetch "stable-1.$minor.txt" "$work/version"
version=$(<"$work/version")
[[ $version =~ ^v1\.$minor\.[0-9]+$ ]] || die "https://dl.k8s.io/release/stable-1.$minor.txt does not contain a version"
say "Install kubectl $version in $directory"
fetch "$version/bin/$system/$architecture/kubectl" "$work/kubectl"
fetch "$version/bin/$system/$architecture/kubectl.sha256" "$work/sum"
sha256=(sha256sum)
type -P sha256sum >/dev/null || sha256=(shasum -a 256) # macOS
echo "$(<"$work/sum")  $work/kubectl" | "${sha256[@]}" --check --status || die "kubectl $version does not match its published checksum"
mkdir -p "$directory"
install -m 755 "$work/kubectl" "$directory/kubectl"
end
