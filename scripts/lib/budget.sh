# shellcheck shell=bash
# The budget that budget.sh makes: for teardown.sh and leftovers.sh, which use no other.
# shellcheck disable=SC2154 # account, partition: cloud.sh

# Prints its name, or nothing.
find_budget() {
  [[ $partition == aws || $partition == aws-cn ]] || return 0 # the other partitions have no budgets
  # An identity that may not see it cannot have made it.
  lookup 'NotFoundException|AccessDenied' aws budgets describe-budget --account-id "$account" --budget-name "$STACK_NAME-budget" \
    --query Budget.BudgetName --output text
}

delete_budget() {
  local found
  found=$(find_budget)
  [[ -n $found ]] || return 0
  say "Delete the budget $found"
  lookup NotFoundException aws budgets delete-budget --account-id "$account" --budget-name "$found"
}
