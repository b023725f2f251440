# shellcheck shell=bash
# What follows a failed rollout: its explanation, and the earlier release.
# shellcheck disable=SC2154 # work: common.sh; names, images: deploy.sh; the others: rollout.sh

explain() { # prints what the cluster knows about the failure, before the rollback removes it
  local pod pods
  warn "--- pods"
  app get pods --sort-by=.metadata.creationTimestamp --output=wide >&2
  warn "--- events"
  # shellcheck disable=SC2312 # the scripts set pipefail
  app get events --field-selector=type!=Normal --sort-by=.metadata.creationTimestamp | tail -n 30 >&2
  pods=$(app get pods --sort-by=.metadata.creationTimestamp --output \
    jsonpath='{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}') || return
  # The newest two that are not ready, or else the newest, are enough: all pods of a version fail for the same reason.
  # shellcheck disable=SC2312 # the same
  pods=$(awk '$2 == "True" { newest = $1; next } { print $1; found = 1 } END { if (!found) print newest }' <<<"$pods" | tail -n 2)
  for pod in $pods; do
    warn "--- $pod"
    app describe pod "$pod" >&2
    warn "--- log of $pod"
    app logs "$pod" --all-containers --ignore-errors --prefix --tail=50 >&2
    warn "--- log of its containers before the last restart"
    app logs "$pod" --all-containers --ignore-errors --prefix --tail=50 --previous >&2
  done
}

undo() { # undo DEPLOYMENT REVISION: sets cause if it fails
  if ask rollout undo "deployment/$1" --to-revision="$2" >&2; then return; fi
  cause="the cluster gave no answer"
  ! refused || cause="the cluster refused it"
  # If the answer to a first try was lost, the revision has become the newest, under another number.
  [[ -n $repeated ]] && grep -qF 'unable to find specified revision' "$work/error"
}

check_health() { # check_health DEPLOYMENT REVISION: at first, the status may still be that of the failed rollout
  local pause
  for pause in 2 4 8 16 0; do
    if app rollout status "deployment/$1" --timeout=20s >&2 2>"$work/error"; then return; fi
    cat "$work/error" >&2
    if ((pause > 2)) && grep -qE "$late|$verdict" "$work/error"; then die "revision $2 of $1 is not healthy either: see scripts/status.sh"; fi
    sleep "$pause"
  done
  die "not known whether revision $2 of $1, to which it was rolled back, is healthy: the cluster gave no answer; see scripts/status.sh"
}

roll_back() { # returns each Deployment that was changed to the revision that it had
  local name revision now number undone=() revisions=''
  for number in "${!names[@]}"; do
    name=${names[number]} revision=${before[number]%%|*}
    [[ -n $revision ]] || continue
    now=$(ask get "deployment/$name" --output=jsonpath="$live") || now=${applied[number]:-${images[number]}}
    [[ ${#applied[@]} != 0 || $now != "${before[number]#*|}" ]] || continue # the cluster refused something before it
    [[ ${now%%|*} == "${images[number]}" && $now == "${applied[number]:-$now}" ]] ||
      die "$name is not rolled back, because someone changed it in the meantime: see scripts/status.sh"
    say "Roll back $name to revision $revision"
    undo "$name" "$revision" || die "cannot roll back, because $cause: restore revision $revision of $name by hand"
    undone+=("$number") revisions+="${revisions:+, }revision $revision of $name"
  done
  [[ -n ${before[*]} ]] || die "the first deployment failed, so there is nothing to roll back to: its pods are kept for you to inspect"
  [[ -n $revisions ]] || die "the cluster refused the change, and the earlier release runs: see the errors above"
  for number in "${undone[@]}"; do check_health "${names[number]}" "${before[number]%%|*}"; done
  die "the deployment failed and was rolled back to $revisions: see the errors above"
}
