"""EventBridge: when rules fire, what their events contain, and how they invoke functions."""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import responses
from ministack.services import eventbridge, lambda_svc

from local.aws_behaviour.wrapping import around

SECONDS_BETWEEN_LOOKS = 1
_MOST_RULES = 100


def apply() -> None:
    """Corrects EventBridge."""
    check_rules_every_second()
    put_the_scheduled_minute_into_events()
    keep_rules_that_have_targets()
    forget_firings_of_deleted_rules()
    invoke_functions_asynchronously()
    list_each_rule_that_stays()


def check_rules_every_second() -> None:
    """AWS fires within the minute that a rule names; ministack checks its rules every ten seconds.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
    """
    eventbridge._SCHEDULER_TICK_INTERVAL = SECONDS_BETWEEN_LOOKS


def put_the_scheduled_minute_into_events() -> None:
    """AWS puts the scheduled time into the event of a cron rule; ministack, the time when it checked.

    https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
    """

    @around(eventbridge, "_invoke_target")
    def invoke_target(
        original: Callable[..., None],
        target: dict[str, Any],
        event: dict[str, Any],
        rule: dict[str, Any],
        view: object = None,
    ) -> None:
        is_tick = event.get("Source") == "aws.events" and event.get("DetailType") == "Scheduled Event"
        if is_tick and rule.get("ScheduleExpression", "").startswith("cron("):
            event = {**event, "Time": int(event["Time"]) // 60 * 60}
            view = None  # ministack creates it again from the event
        original(target, event, rule, view)


def keep_rules_that_have_targets() -> None:
    """AWS deletes a rule only after its targets are removed; ministack deletes the targets, too.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteRule.html
    """

    @around(eventbridge, "_delete_rule")
    def delete_rule(original: Callable[..., Any], data: dict[str, Any]) -> Any:
        key = eventbridge._rule_key(data.get("Name"), data.get("EventBusName", "default"))
        if key in eventbridge._rules and eventbridge._targets.get(key):
            message = "Rule can't be deleted since it has targets."
            return responses.error_response_json("ValidationException", message, 400)
        return original(data)


def forget_firings_of_deleted_rules() -> None:
    """On AWS, a rate counts from the rule's creation; in ministack, from a deleted rule with the same name.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rate-expressions.html
    """

    @around(eventbridge, "_delete_rule")
    def delete_rule(original: Callable[..., Any], data: dict[str, Any]) -> Any:
        scoped = eventbridge._rules
        key = eventbridge._rule_key(data.get("Name"), data.get("EventBusName", "default"))
        for account, region, rule_key in list(scoped._data):
            if rule_key == key and scoped._data[account, region, rule_key] is scoped.get(key):
                eventbridge._rule_last_fired.pop((account, region, rule_key), None)
        return original(data)


def invoke_functions_asynchronously() -> None:
    """AWS invokes a rule's function with its retries and on-failure destination; ministack invokes it once.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    @around(eventbridge, "_dispatch_to_lambda")
    def dispatch_to_lambda(_original: Callable[..., None], arn: str, payload: str) -> None:
        function, configuration, _name = lambda_svc._get_func_record_for_ref(arn)
        if function and configuration:
            record = lambda_svc._execution_record_for_config(function, configuration)
            lambda_svc.invoke_async_with_retry(record, json.loads(payload))


def list_each_rule_that_stays() -> None:
    """A token of ListRules is opaque on AWS; ministack's is an offset.

    If a rule of an earlier page is deleted between two pages, the rule at the offset moves to the page
    before, and is not listed. Here a token names the last rule, so tests may list rules while others delete
    theirs.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html
    """

    @around(eventbridge, "_list_rules")
    def list_rules(original: Callable[..., Any], data: dict[str, Any]) -> Any:
        everything, token = [], ""
        while True:
            answer = json.loads(original({**data, "Limit": _MOST_RULES, "NextToken": token})[2])
            everything += answer["Rules"]
            if "NextToken" not in answer:
                break
            token = answer["NextToken"]
        after = data.get("NextToken", "")
        left = [rule for rule in everything if rule["Name"] > after]
        page = left[: int(data.get("Limit", _MOST_RULES))]
        more = {"NextToken": page[-1]["Name"]} if len(left) > len(page) else {}
        return responses.json_response({"Rules": page, **more})
