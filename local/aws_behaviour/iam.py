"""IAM: which resource a call is checked against, what its conditions see, and a note of what was decided."""

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
    """Mends what policies are checked against."""
    name_rules_and_machines_as_policies_do()
    let_conditions_see_the_encryption_context()
    check_queries_against_their_workgroup()
    check_batches_of_queues_as_single_messages()
    note_decisions(Path(os.environ["TMPDIR"]) / DECISIONS)


def name_rules_and_machines_as_policies_do() -> None:
    """AWS checks calls about a rule against `rule/<name>`, and SendTask* against the token's state machine.

    Ministack checks `rule/default/<name>` on the default bus, and `*` for targets and task tokens, which only
    policies on every resource would allow.
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


def let_conditions_see_the_encryption_context() -> None:
    """AWS lets a policy demand a pair of the encryption context; to ministack that key is never present.

    So `StringEquals` on it would allow nothing. The key's name is not case-sensitive, its value is.
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
    """AWS checks calls about a query, saved or run, against its workgroup; ministack against `*`.

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
        asked = json.loads(body or b"{}")
        known = athena._named_queries.get(asked.get("NamedQueryId")) or athena._executions.get(
            asked.get("QueryExecutionId")
        )
        workgroup = (known or asked).get("WorkGroup", "primary")
        return f"arn:aws:athena:{region}:{account}:workgroup/{workgroup}"


def check_batches_of_queues_as_single_messages() -> None:
    """AWS lets whoever may send, delete or hide one message do so with ten; ministack knows other actions.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """

    @around(iam_actions, "extract_iam_action")
    def extract_iam_action(original: Callable[..., str | None], service: str, *arguments: Any) -> str | None:
        action = original(service, *arguments)
        return action.removesuffix("Batch") if service == "sqs" and action else action


def note_decisions(path: Path) -> None:
    """No difference of its own: tells whoever compares what roles may do with what they did.

    A line of JSON for each decision, and at most one a minute for the same: `at`, in seconds; `principal`,
    its ARN; `action` and `resource`; `statement`, the id of the one of the principal's own policies that
    decided, empty if none matched; and `allowed`, which a resource's policy may have decided instead.
    """
    file = path.open("a", buffering=1)
    noted: set[tuple[Any, ...]] = set()
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
        if not found:  # of root, or not authenticated
            return denied
        context, statement = found
        at = time.time()
        if at // 60 != minute:
            minute = int(at // 60)
            noted.clear()
        what = (context.principal_arn, context.action, context.resource_arn, statement, denied is None)
        if what not in noted:
            noted.add(what)
            names = ("principal", "action", "resource", "statement", "allowed")
            file.write(json.dumps({"at": at, **dict(zip(names, what, strict=True))}) + "\n")
        return denied
