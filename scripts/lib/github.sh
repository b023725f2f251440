# shellcheck shell=bash
# GitHub's API: a call, and what each answer means.
# shellcheck disable=SC2154 # repository, branch: check-github.sh; work: common.sh

ask() { # ask PATH: sets code, and writes $work/body and $work/headers. Keeps the token off every command line.
  code=$(printf '%s' "${GITHUB_TOKEN:+header = \"Authorization: Bearer $GITHUB_TOKEN\"}" |
    curl --config - --silent --show-error --max-time 30 --retry 2 --dump-header "$work/headers" --output "$work/body" \
      --write-out '%{http_code}' --header 'Accept: application/vnd.github+json' "https://api.github.com$1")
}

get() { # as ask; dies if the answer is not GitHub's
  local failure=0
  ask "$1" || failure=$?
  case $failure in
    0) ;;
    5 | 97) die "GitHub: the proxy cannot be reached: check HTTPS_PROXY" ;;
    35 | 51 | 60 | 77) die "GitHub: the certificate is not GitHub's: your network replaces it; set CURL_CA_BUNDLE to the certificate of your company's proxy" ;;
    *) die "GitHub: api.github.com cannot be reached: check the network, and HTTPS_PROXY if you use a proxy" ;;
  esac
  [[ $code != 200 ]] || python3 -c 'import json, sys; sys.exit(not isinstance(json.load(sys.stdin), dict))' <"$work/body" 2>/dev/null ||
    die "GitHub: the answer is not GitHub's: check whether a proxy or a sign-in page of your network sent it"
}

header() { awk -v name="$1:" 'tolower($1) == name { sub(/^[^:]*: */, ""); sub(/\r$/, ""); print }' "$work/headers"; }

moved() { # dies with the repository's new name, which GitHub gives by its number
  local new='' location
  location=$(header location)
  [[ ! ${location#https://api.github.com} =~ ^/repositories/[0-9]+$ ]] || get "${BASH_REMATCH[0]}"
  [[ $code != 200 ]] || new=$(python3 -c 'import json, sys; print(ascii(json.load(sys.stdin).get("full_name", ""))[1:-1])' <"$work/body")
  die "GITHUB_REPO: $GITHUB_USER/$GITHUB_REPO was renamed or moved${new:+ to $new}; set GITHUB_USER and GITHUB_REPO to the new name, and origin with git remote set-url"
}

forbidden() { # dies with what GitHub forbids
  local sso left
  sso=$(header x-github-sso)
  left=$(header x-ratelimit-remaining)
  case $sso$left$code$(<"$work/body") in
    required*) die "GITHUB_TOKEN: the organisation requires single sign-on; authorise the token with Configure SSO at https://github.com/settings/tokens" ;;
    0403* | *429* | *'rate limit'*) die "GitHub: rate limit reached; wait an hour" ;;
    *'IP allow list'*) die "GitHub: the organisation does not allow your IP address, nor perhaps that of AWS; ask its administrator" ;;
    *'not accessible by personal access token'*) die "GITHUB_TOKEN: it lacks a permission; give it Contents (read) and Webhooks (write)" ;;
    *) die "GitHub: rate limit reached, or the organisation requires a token authorised for SSO; wait, or authorise it" ;;
  esac
}

check_repository() { # after get "$repository"
  case $code in
    200) ;;
    301 | 302 | 307 | 308) moved ;;
    401) die "GITHUB_TOKEN: GitHub rejects it; create a new one at https://github.com/settings/tokens" ;;
    403 | 429) forbidden ;;
    404) die "GITHUB_REPO: $GITHUB_USER/$GITHUB_REPO does not exist, or the token has no access to it; check GITHUB_USER and GITHUB_REPO" ;;
    407) die "GitHub: the proxy wants a user and a password: set them in HTTPS_PROXY" ;;
    451) die "GITHUB_REPO: GitHub has blocked $GITHUB_USER/$GITHUB_REPO for legal reasons; use another repository" ;;
    *) die "GitHub: returned status $code for $GITHUB_USER/$GITHUB_REPO; try again later" ;;
  esac
}

check_branch() {
  local location
  get "$branch"
  case $code in
    200) ;;
    301 | 302 | 307 | 308)
      location=$(header location)
      die "GITHUB_BRANCH: $GITHUB_BRANCH was renamed to ${location##*/branches/}; set GITHUB_BRANCH to that"
      ;;
    *) die "GITHUB_BRANCH: $GITHUB_USER/$GITHUB_REPO has no branch $GITHUB_BRANCH; push it, or set GITHUB_BRANCH" ;;
  esac
}
