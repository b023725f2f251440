#!/usr/bin/env bash
# Wait for ECR's scan of an image, and fail if it found something of a severity or worse.
#
# Usage: scripts/build/check-findings.sh REPOSITORY@sha256:DIGEST LOW|MEDIUM|HIGH|CRITICAL
#
# ECR scans each pushed image: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning-basic.html. A scan that
# does not end within ten minutes, or says nothing about the image, fails too.
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/../.."
source scripts/lib/common.sh
case ${1:-} in -*) begin '' "$@" ;; *) begin '' ;; esac

image=${1:-} severity=${2:-}
[[ $# == 2 && $image =~ ^[a-z0-9][a-zA-Z0-9._:-]*/[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}$ && $severity =~ ^(LOW|MEDIUM|HIGH|CRITICAL)$ ]] ||
  refuse "name one image by its digest, and LOW, MEDIUM, HIGH or CRITICAL: see scripts/build/check-findings.sh -h"
require aws python3
repository=${image%@*} repository=${repository#*/}

scan_ended() { # right after a push, there is no scan yet
  lookup ScanNotFoundException aws ecr describe-image-scan-findings --repository-name "$repository" --image-id "imageDigest=${image#*@}" \
    --output json --query '[imageScanStatus.status, imageScanFindings.findings[].[severity, name, uri, attributes[].[key, value]]]' \
    >"$work/findings.json" || die "cannot read the findings of $image: fix the error above, then retry the build"
  status=$(python3 scripts/lib/findings.py status <"$work/findings.json") || die "the answer about $image is not from AWS: see the error above, then retry the build"
  [[ -n $status && $status != PENDING && $status != IN_PROGRESS ]]
}

say "Wait for the scan of $image"
wait_until 600 "the scan of $image" scan_ended
case $status in
  COMPLETE) ;;
  ACTIVE) die "this account has enhanced scanning, which this does not read: use basic scanning, or set FAIL_ON_SEVERITY=NONE and run scripts/create-stack.sh" ;;
  *) die "the scan of $image is $status, so its findings are not known, and it is not deployed: see the repository in the ECR console" ;;
esac
found=$(python3 scripts/lib/findings.py "$severity" <"$work/findings.json")
if [[ -n $found ]]; then
  printf '%s\n' "$found" >&2
  die "not deployed, because of the findings above: take fixed versions, with a newer base image or apt-get upgrade in the Dockerfile, and push"
fi
summary=$(python3 scripts/lib/findings.py summary <"$work/findings.json")
say "Nothing of severity $severity or worse; found: $summary"
end
