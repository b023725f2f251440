# shellcheck shell=bash
# What an update of the stack keeps and what it changes.
# shellcheck disable=SC2154 # given: settings.sh; work: common.sh

read_parameters() {
  aws cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].Parameters' --output json >"$work/present.json" ||
    die "cannot read the parameters of stack $STACK_NAME: fix the error above, then run this again"
}

keep_values() { # sets each setting that was not given to the stack's value
  local name value
  read_parameters
  # shellcheck disable=SC2086 # given is a list of names
  python3 scripts/lib/stack_parameters.py keep "$work/present.json" $given >"$work/kept"
  while IFS='=' read -r name value; do
    [[ -z ${!name:-} || ${!name} == "$value" ]] || say "Keep the stack's $name, $value, not ${!name}: to change it, export $name"
    export "$name=$value"
  done <"$work/kept"
}

find_changes() { # lists in $work/changes what an update would change; the stack's own token cannot be read to compare it
  local template
  read_parameters
  template=$(aws cloudformation get-template --stack-name "$STACK_NAME" --query TemplateBody --output text) ||
    die "cannot read the template of stack $STACK_NAME: fix the error above, then run this again"
  {
    python3 scripts/lib/stack_parameters.py changes "$work/present.json"
    [[ -z ${GITHUB_TOKEN:-} ]] || echo "Set GitHubToken to the token that was given"
    [[ $template == "$(<ci-cd-codepipeline.cfn.yml)" ]] || echo "Replace the template with the one of this checkout"
  } >"$work/changes"
}
