# shellcheck shell=bash
# Whether the app answers, asked once all pods run the release: by way of the API server, through the app's Service.
# shellcheck disable=SC2034,SC2154 # release_check: deploy.sh; work: common.sh; app, ask and give_up: rollout.sh

release_check='{.metadata.annotations.release-check/url}|{.metadata.annotations.release-check/answer}'

# check_answer DEPLOYMENT SERVICE:PORT/PATH TEXT: fails if the app answers with an error, without TEXT, or not in time
check_answer() {
  local pause code said path=/api/v1/namespaces/$APP_NAMESPACE/services/${2%%/*}/proxy/${2#*/}
  [[ -n $2 ]] || return 0
  say "Ask $2"
  for pause in 2 4 8 0; do # at first, a pod that is being stopped may still get requests
    code=0
    said=$(timeout 10 kubectl --context deployer --namespace "$APP_NAMESPACE" get --raw "$path" 2>"$work/error") || code=$?
    said=${said//[^[:print:]]/ }
    ((code > 0)) || [[ $said != *"$3"* ]] || { printf '%s\n' "Answered: ${said:0:300}" && return; }
    case $code in
      0) warn "The answer is not $3: ${said:0:300}" ;;
      124) warn "No answer within 10 seconds" ;;
      *) cat "$work/error" >&2 ;;
    esac
    ! grep -qF 'cannot get resource "services/proxy"' "$work/error" ||
      die "the pipeline may not ask ${2%%/*}, so nothing was rolled back: name it in deployer-rbac.yml, run scripts/authorize-role.sh, then retry the build"
    sleep "$pause"
  done
  # kubectl prints the app's errors as it prints the API server's. So it was the app's if the API server answers now.
  ((code == 0 || code == 124)) || grep -qE '^Error from server|must be logged in' "$work/error" || give_up "what $2 answers"
  ask get "deployment/$1" --output=name >/dev/null || give_up "what $2 answers"
  return 1
}
