# shellcheck shell=bash
# Checks of the tools' versions.
# shellcheck disable=SC2154 # KUBERNETES_VERSION: settings.sh

at_least() { # at_least VERSION MINIMUM: compares dotted numbers
  local sorted
  sorted=$(printf '%s\n%s\n' "$2" "$1" | sort -t . -k 1,1n -k 2,2n -k 3,3n)
  [[ ${sorted%%$'\n'*} == "$2" ]]
}

program() { # program MINIMUM COMMAND...: prints the version that the command reports
  local minimum=$1 answer
  shift
  type -P "$1" >/dev/null || { echo "not on PATH" && return 1; }
  answer=$("$@" 2>&1) && [[ $answer =~ [0-9]+\.[0-9]+(\.[0-9]+)? ]] || return 1
  echo "${BASH_REMATCH[0]}"
  at_least "${BASH_REMATCH[0]}" "$minimum"
}

aws_fits() { # 1.37.0 and 2.23.0, of the same week in January 2025, know all the calls; the tests run both major versions
  local version
  version=$(program 1.37.0 aws --version) || { echo "$version" && return 1; }
  echo "$version"
  [[ $version == 1.* ]] || at_least "$version" 2.23.0
}

kubectl_fits() { # at most one minor version older or newer: https://kubernetes.io/releases/version-skew-policy
  local answer
  type -P kubectl >/dev/null || { echo "not on PATH" && return 1; }
  answer=$(kubectl version --client --output json) && [[ $answer =~ \"gitVersion\":\ *\"v1\.([0-9]+)([^\"]*) ]] || return 1
  echo "1.${BASH_REMATCH[1]}${BASH_REMATCH[2]}, cluster $KUBERNETES_VERSION"
  ((BASH_REMATCH[1] - ${KUBERNETES_VERSION#1.} <= 1 && ${KUBERNETES_VERSION#1.} - BASH_REMATCH[1] <= 1))
}
