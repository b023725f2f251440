#!/usr/bin/env bash
# Create or update a budget: AWS sends an email when the account's costs of a month reach half of an amount, and all of it.
#
# Usage: scripts/budget.sh [-h]
#
# Settings: AWS_REGION, STACK_NAME. teardown.sh deletes the budget. Also reads these from the environment:
#   BUDGET_EMAIL   the address notified
#   BUDGET_AMOUNT  whole US dollars a month; 20 if not set
set -euo pipefail
self=$(readlink -f -- "$0") && cd -- "${self%/*}/.."
source scripts/lib/common.sh
uses=(AWS_REGION STACK_NAME)
begin '' "$@"
: "${BUDGET_EMAIL:=}" "${BUDGET_AMOUNT:=20}"
check BUDGET_EMAIL '^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$' 'one email address'
check BUDGET_AMOUNT '^[1-9][0-9]{0,5}$' 'whole US dollars a month, such as 20'
require aws

budget=$STACK_NAME-budget
limit="BudgetName=$budget,BudgetType=COST,TimeUnit=MONTHLY,BudgetLimit={Amount=$BUDGET_AMOUNT,Unit=USD}"
subscriber="SubscriptionType=EMAIL,Address=$BUDGET_EMAIL"
alarm=NotificationType=ACTUAL,ComparisonOperator=GREATER_THAN,ThresholdType=PERCENTAGE,Threshold=

notify() { # notify PERCENT: lets the alarm at this part of the amount go to the address
  local addresses old
  addresses=$(lookup NotFoundException aws budgets describe-subscribers-for-notification --account-id "$account" \
    --budget-name "$budget" --notification "$alarm$1" --output text --query "Subscribers[?SubscriptionType=='EMAIL'].Address")
  read -r old _ <<<"$addresses"
  [[ "$(printf '\t%s\t' "$addresses")" != *$'\t'"$BUDGET_EMAIL"$'\t'* ]] || return 0
  say "Send an email to $BUDGET_EMAIL at $1%"
  if [[ -z $old ]]; then
    aws budgets create-notification --account-id "$account" --budget-name "$budget" --notification "$alarm$1" --subscribers "$subscriber"
  else
    aws budgets update-subscriber --account-id "$account" --budget-name "$budget" --notification "$alarm$1" \
      --old-subscriber "SubscriptionType=EMAIL,Address=$old" --new-subscriber "$subscriber"
  fi
}

say "Look for the budget $budget"
identify
amount=$(lookup NotFoundException aws budgets describe-budget --account-id "$account" --budget-name "$budget" \
  --query Budget.BudgetLimit.Amount --output text)
if [[ -z $amount ]]; then
  say "Create the budget: \$$BUDGET_AMOUNT a month"
  aws budgets create-budget --account-id "$account" --budget "$limit" --notifications-with-subscribers \
    "Notification={${alarm}50},Subscribers=[{$subscriber}]" "Notification={${alarm}100},Subscribers=[{$subscriber}]"
else
  [[ $amount == "$BUDGET_AMOUNT" || $amount == "$BUDGET_AMOUNT.0" ]] || {
    say "Change the budget from \$$amount to \$$BUDGET_AMOUNT a month"
    aws budgets update-budget --account-id "$account" --new-budget "$limit"
  }
  notify 50
  notify 100
fi
say "The budget is up to date"
end
