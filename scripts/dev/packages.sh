#!/usr/bin/env bash
# Name and install the system packages that the rehearsal, the tests or the benchmarks need.
#
# Usage: scripts/dev/packages.sh minimal|rehearsal|tests|benchmarks
#
#   minimal     Python with venv, git and curl
#   rehearsal   minimal, and what Kubernetes nodes and a Docker Engine need
#   tests       rehearsal, the browser that tests the console page, and a virtual machine with cgroup v2
#   benchmarks  rehearsal, and wrk, which generates load
#
# Needs root on Debian or Ubuntu, but only when a package is missing.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "$0")/../.."

if [[ " $* " == *" -h "* || " $* " == *" --help "* ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
  exit 0
fi

minimal=(python3 python3-venv git curl ca-certificates)
nodes=(docker.io debootstrap containernetworking-plugins runc iptables iproute2 ethtool conntrack procps)
case $* in
  minimal) wanted=("${minimal[@]}") ;;
  rehearsal) wanted=("${minimal[@]}" "${nodes[@]}") ;;
  tests) wanted=("${minimal[@]}" "${nodes[@]}" chromium chromium-driver qemu-system-x86 openssh-client) ;;
  benchmarks) wanted=("${minimal[@]}" "${nodes[@]}" wrk) ;;
  *)
    echo "packages.sh: name one of minimal, rehearsal, tests and benchmarks" >&2
    exit 2
    ;;
esac

help="use a machine or container with Debian 12 or Ubuntu 24.04 as root; .devcontainer/ describes one"
if [[ $1 != minimal && ($(uname -s) != Linux || $EUID -ne 0) ]]; then
  echo "packages.sh: namespaces and cgroups need root on Linux: $help, or pass --without-cluster (rehearse.sh) or --fast (test.sh)" >&2
  exit 2
fi

have() { # have PACKAGE: is its program installed, from any package?
  case $1 in
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    ca-certificates) [[ -e /etc/ssl/certs/ca-certificates.crt || $(uname -s) != Linux ]] ;;
    docker.io) type -P docker dockerd >/dev/null ;;
    containernetworking-plugins) [[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp || -x /usr/libexec/cni/ptp ]] ;;
    iproute2) type -P ip >/dev/null ;;
    openssh-client) type -P ssh >/dev/null ;;
    procps) type -P ps >/dev/null ;;
    chromium-driver) type -P chromedriver >/dev/null ;;
    qemu-system-x86) type -P qemu-system-x86_64 >/dev/null ;;
    *) type -P "$1" >/dev/null ;;
  esac
}

missing=()
for package in "${wanted[@]}"; do
  have "$package" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $EUID -ne 0 ]] || ! type -P apt-get >/dev/null; then
  echo "packages.sh: missing ${missing[*]}: install them, or $help" >&2
  exit 2
fi
echo "==> Install the system packages ${missing[*]}"
# RUNLEVEL=1 keeps the package docker.io from starting an engine.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  apt-get update
  # Since release 23, the BuildKit client is a separate package.
  if [[ " ${missing[*]} " == *" docker.io "* ]] && apt-cache show docker-buildx; then missing+=(docker-buildx); fi
  apt-get install --yes --no-install-recommends "${missing[@]}"
}
if ! install >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "packages.sh: apt-get could not install ${missing[*]}: see its output above" >&2
  exit 1
fi
