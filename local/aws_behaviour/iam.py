"""IAM: the resource and the condition keys of a call, and a record of each decision."""

import contextvars
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import athena

from local.aws_behaviour import step_functions
from local.aws_behaviour.wrapping import around
from local.emulated_account import DECISIONS

ON_TARGETS = ("PutTargets", "RemoveTargets", "ListTargetsByRule")
ANSWERS_OF_TASKS = ("SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat")


def apply() -> None:
    """Corrects how calls are checked against policies."""
    use_resource_names_of_policies()
    pass_encryption_context_to_conditions()
    check_queries_against_their_workgroup()
    check_batches_as_single_messages()
    record_decisions(Path(os.environ["TMPDIR"]) / DECISIONS)


def use_resource_names_of_policies() -> None:
    """AWS checks calls about a rule against `rule/<name>`, and SendTask* against the token's state machine.

    Ministack checks against `rule/default/<name>` on the default bus, and against `*` for targets and task
    tokens. Only policies for every resource would allow that.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
    https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.aws_stepfunctions.StateMachine.html#granttaskresponseidentity
    """

    @around(iam_actions, "extract_resource_arn")
    def extract_resource_arn(
        original: Callable[..., str],
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
        region: str,
        account: str,
    ) -> str:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if service == "events" and action in ON_TARGETS:
            return f"arn:aws:events:{region}:{account}:rule/{json.loads(body)['Rule']}"
        if service == "states" and action in ANSWERS_OF_TASKS:
            return step_functions.machine_of_task(json.loads(body).get("taskToken", "")) or "*"
        arn = original(service, method, path, headers, body, query, region, account)
        return arn.replace(":rule/default/", ":rule/") if service == "events" else arn


def pass_encryption_context_to_conditions() -> None:
    """AWS lets a policy require a pair of the encryption context; ministack lacks that condition key.

    So `StringEquals` on it would allow nothing. The name of the key is case-insensitive, its value is not.
    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
    """

    @around(iam_actions, "request_tag_context")
    def request_tag_context(
        original: Callable[..., dict[str, Any]],
        service: str,
        iam_action: str,
        body: bytes,
        params: dict[str, Any],
    ) -> dict[str, Any]:
        found = original(service, iam_action, body, params)
        if service != "kms":
            return found
        context = json.loads(body or b"{}").get("EncryptionContext") or {}
        return found | {f"kms:EncryptionContext:{name}": value for name, value in context.items()}


def check_queries_against_their_workgroup() -> None:
    """AWS checks calls about saved and running queries against their workgroup; ministack checks against `*`.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonathena.html
    """

    @around(iam_actions, "extract_resource_arn")
    def extract_resource_arn(
        original: Callable[..., str],
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
        region: str,
        account: str,
    ) -> str:
        if service != "athena":
            return original(service, method, path, headers, body, query, region, account)
        request = json.loads(body or b"{}")
        known = athena._named_queries.get(request.get("NamedQueryId")) or athena._executions.get(
            request.get("QueryExecutionId")
        )
        workgroup = (known or request).get("WorkGroup", "primary")
        return f"arn:aws:athena:{region}:{account}:workgroup/{workgroup}"


def check_batches_as_single_messages() -> None:
    """AWS checks a batch of messages as the action for one message; ministack checks actions of its own.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """

    @around(iam_actions, "extract_iam_action")
    def extract_iam_action(original: Callable[..., str | None], service: str, *arguments: Any) -> str | None:
        action = original(service, *arguments)
        return action.removesuffix("Batch") if service == "sqs" and action else action


def record_decisions(path: Path) -> None:
    """Records decisions, so that tests/grants.py can compare what roles may do with what they did.

    The file has a line of JSON for each decision, and at most one a minute for equal ones. `at` is in
    seconds. `principal` is an ARN. `statement` is the id of the statement of the principal's own policies
    that decided, or empty if none matched. A resource's policy may have decided `allowed` instead.
    """
    file = path.open("a", buffering=1)
    recorded: set[tuple[Any, ...]] = set()
    minute = 0
    evaluated: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("evaluated", default=None)

    @around(iam_evaluator, "evaluate")
    def evaluate(original: Callable[..., Any], context: Any, *arguments: Any) -> Any:
        result = original(context, *arguments)
        found = evaluated.get()
        if found == []:  # the principal's policies come first
            found += [context, result.matched_sid]
        return result

    @around(iam_evaluator, "enforce")
    def enforce(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        nonlocal minute
        found: list[Any] = []
        reset = evaluated.set(found)
        try:
            denied = original(*arguments, **named)
        finally:
            evaluated.reset(reset)
        if not found:  # the caller is root or not authenticated
            return denied
        context, statement = found
        at = time.time()
        if at // 60 != minute:
            minute = int(at // 60)
            recorded.clear()
        what = (context.principal_arn, context.action, context.resource_arn, statement, denied is None)
        if what not in recorded:
            recorded.add(what)
            names = ("principal", "action", "resource", "statement", "allowed")
            file.write(json.dumps({"at": at, **dict(zip(names, what, strict=True))}) + "\n")
        return denied
