# shellcheck shell=bash
# Asks the person at the terminal before something is deleted or costs much.
# shellcheck disable=SC2154 # script: common.sh; CLUSTER_NAME: settings.sh

check_terminal() { # check_terminal VERB "$@": refuses if there is no one to ask
  has_option --yes "${@:2}" || [[ -t 0 ]] ||
    refuse "$script: there is no terminal to confirm on: pass --yes to $1 without confirmation"
}

ask_for_name() { # ask_for_name OUTCOME: ends the script unless the name of the cluster is typed
  local answer
  read -r -p 'Type the name of the cluster to continue: ' answer
  [[ $answer == "$CLUSTER_NAME" ]] || die "nothing was $1"
}
