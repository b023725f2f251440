# shellcheck shell=bash
# A rollout of the Deployments of deployment.yml: questions that survive a failing network, and the wait.
# shellcheck disable=SC2034,SC2154 # before, applied, repeated, live: undo.sh; work: common.sh; names: deploy.sh

app() { kubectl --context deployer --namespace "$APP_NAMESPACE" "$@"; } # which connect.sh has made

used_images="{.spec.template.spec['initContainers','containers'][*].image}"
live="$used_images|{.spec.template}"
# How kubectl prints that the API server refuses an object, and that a Deployment says that it has failed. All else, such as
# a timeout, a broken connection, 429 or 5xx, says nothing about the release.
refusal='Error from server \((BadRequest|Forbidden|Invalid|MethodNotAllowed|NotAcceptable|NotFound|RequestEntityTooLarge|'
refusal+='UnsupportedMediaType)\)|^The ([^ ]+ ".*"|request) is invalid|no matches for kind |ValidationError'
verdict='exceeded its progress deadline'
late='timed out waiting for the condition'
hopeless='You must be logged in|context ".*" does not exist|unable to find specified revision'

refused() { grep -qE "$refusal" "$work/error"; }

ask() { # ask ARGUMENT...: kubectl, again for half a minute until the cluster answers; then repeated is set
  local pause
  repeated=
  for pause in 2 4 8 16 0; do
    if app "$@" 2>"$work/error"; then break; fi
    cat "$work/error" >&2
    if ((pause == 0)) || grep -qE "$refusal|$hopeless" "$work/error"; then return 1; fi
    warn "This says nothing about the release: asking again in $pause seconds"
    sleep "$pause"
    repeated=1
  done
  cat "$work/error" >&2 # its warnings
}

note_what_runs() { # sets before: each Deployment's revision, images and pod template
  local name now
  before=() applied=()
  for name in "${names[@]}"; do
    now=$(ask get "deployment/$name" --ignore-not-found \
      --output=jsonpath="{.metadata.annotations.deployment\\.kubernetes\\.io/revision}|$live") ||
      die "cannot read deployment/$name in $APP_NAMESPACE, so nothing was changed: if access was refused, run scripts/authorize-role.sh; then retry the build"
    before+=("$now")
  done
}

note_what_was_applied() { # sets applied: each Deployment's images and pod template, or nothing if they cannot be read
  local name now
  for name in "${names[@]}"; do
    now=$(ask get "deployment/$name" --output=jsonpath="$live") || now=''
    applied+=("$now")
  done
}

# find_stuck_pods DEPLOYMENT: prints pods of its newest revision that will not start without a change; fails if there are none
find_stuck_pods() {
  local object='={.metadata.ownerReferences[0].name}{"\t"}{.metadata.annotations.deployment\.kubernetes\.io/revision}{"\t"}{.metadata.name}{"\n"}'
  local container='{.restartCount}{"\t"}{.state.waiting.reason}{"\t"}{.state.waiting.message}{"\n"}'
  # An unreachable registry or a first crash may pass; these reasons do not.
  # shellcheck disable=SC2312 # the scripts set pipefail
  app get replicasets,pods --output=jsonpath="{range .items[*]}$object{range .status['initContainerStatuses','containerStatuses'][*]}$container{end}{end}" |
    awk -F '\t' -v owner="=$1" '
      BEGIN { set = "none" }
      /^=/ { name = $3; is_new = $1 == "=" set; if ($1 == owner && $2 > newest) { newest = $2 + 0; set = $3 } next }
      is_new && ($2 ~ /ImagePull/ && $3 ~ /not found/ || $2 == "CrashLoopBackOff" && $1 >= 2 ||
        $2 ~ /^(InvalidImageName|CreateContainerConfigError)$/) { print name ": " $2 ", " $3; found = 1 }
      END { exit !found }' >&2
}

# lacks_pods DEPLOYMENT: prints why the cluster creates no pods for it; fails if it does. Then a Deployment that had this pod
# template before may never give its verdict: https://github.com/kubernetes/kubernetes/issues/106697
# shellcheck disable=SC2312 # the scripts set pipefail
lacks_pods() { app get "deployment/$1" --output=jsonpath='{.status.conditions[?(@.type=="ReplicaFailure")].message}' | grep . >&2; }

# wait_for_rollout DEPLOYMENT SECONDS: fails with its verdict, which it gives SECONDS after the last progress
wait_for_rollout() {
  local progress shown='' patience=$((2 * $2 + 5)) end # twice, because kubectl does not show all progress
  end=$((SECONDS + patience))
  until progress=$(app rollout status "deployment/$1" --timeout=10s 2>"$work/error"); do
    grep -qF "$late" "$work/error" || cat "$work/error" >&2
    ! grep -qF "$verdict" "$work/error" || return 1
    ! find_stuck_pods "$1" || return 1
    if [[ -n $progress && $progress != "$shown" ]]; then
      printf '%s\n' "$progress"
      shown=$progress end=$((SECONDS + patience))
    fi
    ((SECONDS < end - $2)) || ! lacks_pods "$1" || return 1
    ((SECONDS < end)) || give_up "whether deployment/$1 is rolled out"
    grep -qF "$late" "$work/error" || sleep 2
  done
  [[ -z $progress ]] || printf '%s\n' "$progress"
}

give_up() { # give_up WHAT: no verdict, so no rollback
  local why="the cluster gave no answer, see the last error above"
  if grep -qF "$late" "$work/error"; then
    why="the Deployment has neither finished nor failed"
    grep -vF "$late" "$work/error" >&2 || true # such as a right that is missing
  fi
  die "not known $1: $why; nothing was rolled back: see scripts/status.sh, then retry the build"
}
