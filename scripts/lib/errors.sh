# shellcheck shell=bash
# What the errors of AWS and kubectl mean, and what to do about each.
# shellcheck disable=SC2154 # work: common.sh

advice() { # advice TEXT: prints the cause and the remedy; fails if the error is of no known kind. The first match counts
  case $1 in
    *'Signature expired'* | *'Signature not yet current'* | *RequestTimeTooSkewed* | *RequestExpired* | *'certificate has expired or is not yet valid'*)
      echo "AWS rejects requests because your computer's clock is wrong: synchronise it, then try again"
      ;;
    *'explicit deny in a'*)
      echo "a policy of your organisation or account forbids this, whatever else is allowed: ask its administrator, or set AWS_REGION if only this region is forbidden, then try again"
      ;;
    *\(OptInRequired\)* | *\(RegionDisabledException\)* | *'not activated in this region'*) region_is_disabled ;;
    *\(InvalidClientTokenId\)* | *\(UnrecognizedClientException\)* | *\(AuthFailure\)*)
      if is_known_elsewhere; then region_is_disabled; else credentials_are_wrong; fi
      ;;
    *\(ExpiredToken* | *'oken has expired'* | *'profile has expired'* | *'loading SSO Token'* | *'token from sso'*)
      echo "your sign-in to AWS has expired: sign in again (aws sso login, aws login or aws configure), then try again"
      ;;
    *'Unable to locate credentials'* | *'Partial credentials'* | *'config profile'* | *\(SignatureDoesNotMatch\)* | *\(IncompleteSignature\)* | *\(InvalidAccessKeyId\)*)
      credentials_are_wrong
      ;;
    *\(AccessDenied* | *\(UnauthorizedOperation\)* | *\(AuthorizationError* | *'is not authorized to perform'*)
      echo "your IAM user lacks this right: attach what scripts/learner-policy.sh prints, as in step 2 of the README, then try again"
      ;;
    *hrottl* | *'Rate exceeded'* | *TooManyRequests* | *RequestLimitExceeded* | *SlowDown*)
      echo "AWS limits how often your account may ask: wait some minutes, then try again"
      ;;
    *CERTIFICATE_VERIFY_FAILED* | *'certificate verify failed'* | *'SSL validation failed'* | *'x509: '*)
      echo "the certificate is not from AWS: your network replaces it; set AWS_CA_BUNDLE to the certificate of your company's proxy, then try again"
      ;;
    *'onnect to proxy'* | *' 407'* | *'Proxy Authentication'*)
      echo "the proxy refuses to connect: check HTTPS_PROXY, with user and password if it needs them, then try again"
      ;;
    *'Unable to parse'* | *"Result'"* | *'requested fields are missing'*)
      echo "the answer is not from AWS: check whether a proxy or a sign-in page of your network sent it, then try again"
      ;;
    *LimitExceeded* | *QuotaExceeded* | *'not have more than'*)
      echo "a quota of your account is used up: delete what you no longer need, or raise it in the console under Service Quotas, then try again"
      ;;
    *\(InternalError\)* | *\(InternalFailure\)* | *\(5[0-9][0-9]\)* | *ServiceUnavailable* | *\(ServerException\)* | *\(ServiceException\)*)
      echo "AWS has a fault: see https://health.aws.amazon.com/health/status, then try again"
      ;;
    *'no such host'* | *'Could not connect'* | *'onnection '* | *imeout* | *'endpoint URL'* | *'unexpected EOF'*)
      echo "AWS is unreachable or returns errors: check the network, and HTTPS_PROXY if you use a proxy, then try again"
      ;;
    *'asked for the client to provide credentials'* | *'must be logged in to the server'* | *'error: Unauthorized'*)
      echo "the cluster does not know you: sign in to AWS as the user who created it, or have that user give you an access entry, then try again"
      ;;
    *'(Forbidden): '*)
      echo "the cluster knows you but does not allow this: have its administrator allow it, then try again"
      ;;
    *) return 1 ;;
  esac
}

credentials_are_wrong() { echo "AWS does not accept your credentials: renew them (aws configure, aws login or aws sso login), then try again"; }

region_is_disabled() {
  echo "the region $AWS_REGION is not enabled in your account: enable it in the console, under Account, AWS Regions, or set AWS_REGION to another, then try again"
}

is_known_elsewhere() { # whether AWS accepts the credentials in a region that every account has enabled
  local region=us-east-1
  case $AWS_REGION in cn-*) region=cn-north-1 ;; us-gov-*) region=us-gov-west-1 ;; eusc-*) return 1 ;; esac
  [[ $region != "$AWS_REGION" ]] &&
    command aws --cli-connect-timeout 10 --cli-read-timeout 30 --region "$region" sts get-caller-identity >/dev/null 2>&1
}

with_advice() { # with_advice COMMAND...: if it fails, what AWS or kubectl says is followed by the advice
  local error code=0
  error=$(mktemp "$work/said.XXXXXX")
  "$@" 2>"$error" || code=$?
  cat "$error" >&2
  ((code == 0)) || advice "$(<"$error")" >&2 || true
  return "$code"
}
