#!/usr/bin/env bash
# Name and install the system packages that the rehearsal, the tests or the benchmarks need.
#
# Usage: scripts/dev/packages.sh [--missing] minimal|rehearsal|tests|slow|benchmarks
#
#   minimal     Python with venv, git and curl
#   rehearsal   minimal, and what Kubernetes nodes and a Docker Engine need
#   tests       rehearsal, and the browser that tests the console page
#   slow        tests, and what runs other systems: containers with a network, virtual machines, programs for arm64
#   benchmarks  rehearsal, and wrk, which generates load
#   --missing   only name the packages that are missing
#
# Needs root on Debian or Ubuntu, but only when a package is missing.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."

if [[ " $* " == *" -h "* || " $* " == *" --help "* ]]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$self"
  exit 0
fi
only_list=
[[ ${1:-} != --missing ]] || { only_list=1 && shift; }
minimal=(python3 python3-venv git curl ca-certificates)
nodes=(docker.io mmdebstrap debian-archive-keyring containernetworking-plugins runc iptables iproute2 ethtool conntrack procps)
case $* in
  minimal) wanted=("${minimal[@]}") ;;
  rehearsal) wanted=("${minimal[@]}" "${nodes[@]}") ;;
  tests) wanted=("${minimal[@]}" "${nodes[@]}" debootstrap chromium chromium-driver) ;;
  slow) wanted=("${minimal[@]}" "${nodes[@]}" debootstrap chromium chromium-driver slirp4netns qemu-user-static user-mode-linux slirp gcc libc6-dev) ;;
  benchmarks) wanted=("${minimal[@]}" "${nodes[@]}" wrk) ;;
  *) echo "packages.sh: name one of minimal, rehearsal, tests, slow and benchmarks" >&2 && exit 2 ;;
esac
help="use a machine with Debian 12 or later or Ubuntu 24.04 or later as root, or the container of docs/environments.md"
system=$(uname -s)
machine=$(uname -m)
if [[ $1 != minimal && ($system != Linux || $EUID -ne 0) ]]; then
  echo "packages.sh: namespaces and cgroups need root on Linux: $help, or pass --without-cluster (rehearse.sh) or --fast (test.sh)" >&2
  exit 2
fi

have() { # have PACKAGE: is its program installed, from any package?
  case $1 in
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    ca-certificates) [[ -e /etc/ssl/certs/ca-certificates.crt || $system != Linux ]] ;;
    docker.io) type -P docker dockerd >/dev/null ;;
    debian-archive-keyring) [[ -e /usr/share/keyrings/$1.gpg ]] ;; # mmdebstrap checks signatures with it
    containernetworking-plugins) [[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp || -x /usr/libexec/cni/ptp ]] ;;
    iproute2) type -P ip >/dev/null ;;
    procps) type -P ps >/dev/null ;;
    chromium-driver) type -P chromedriver >/dev/null ;;
    libc6-dev) [[ -e /usr/include/time.h ]] ;;
    slirp) type -P slirp-fullbolt >/dev/null ;;
    user-mode-linux) type -P linux.uml >/dev/null || [[ $machine != x86_64 ]] ;; # exists for x86-64 only
    qemu-user-static) type -P qemu-aarch64-static >/dev/null ;;
    *) type -P "$1" >/dev/null ;;
  esac
}

find_missing() {
  local package && missing=()
  for package in "${wanted[@]}"; do
    have "$package" || missing+=("$package")
  done
}

find_missing
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $EUID -ne 0 ]] || ! type -P apt-get >/dev/null; then
  echo "packages.sh: missing ${missing[*]}: install them, or $help" >&2
  exit 2
fi
[[ -z $only_list ]] || { echo "${missing[*]}" && exit; }
echo "==> Install the system packages ${missing[*]}"
# RUNLEVEL=1 keeps the package docker.io from starting an engine.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp) stale=''
trap 'rm -f "$log"' EXIT
install() { # with a failed update, apt-get may still know the packages
  apt-get update || stale=", after apt-get update failed (check the network and the package sources)"
  local packages=("${missing[@]}") package found
  # Parts that docker.io only recommends since Debian 13: its client, and BuildKit's client.
  if [[ " ${missing[*]} " == *" docker.io "* ]]; then
    for package in docker-cli docker-buildx; do
      found=$(apt-cache search --names-only "^$package\$")
      [[ -z $found ]] || packages+=("$package")
    done
  fi
  apt-get install --yes --no-install-recommends "${packages[@]}"
}
if ! install >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "packages.sh: apt-get could not install ${missing[*]}$stale: see its output above" >&2
  exit 1
fi
find_missing
[[ ${#missing[@]} -gt 0 ]] || exit 0
echo "packages.sh: apt-get succeeded, but the programs of ${missing[*]} are not on PATH ($PATH): install them, or $help" >&2
exit 1
