"""IAM: the resource and the condition keys of a call, and a record of each decision."""

import contextvars
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

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
    parse_policies_once()
    record_decisions(Path(os.environ["TMPDIR"]) / DECISIONS)


class Call(NamedTuple):
    """A call that is checked against policies."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: dict[str, Any]
    region: str
    account: str

    @property
    def action(self) -> str:
        """The operation, if the service's protocol names it in a header; else empty."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


def resources_of(service: str) -> Callable[[Callable[[str, Call], str]], None]:
    """Decorates what names the resource of a service's calls, given the ARN that ministack would take."""

    def use(name_of: Callable[[str, Call], str]) -> None:
        @around(iam_actions, "extract_resource_arn")
        def extract_resource_arn(original: Callable[..., str], of_service: str, *arguments: Any) -> str:
            arn = original(of_service, *arguments)
            return name_of(arn, Call(*arguments)) if of_service == service else arn

    return use


def use_resource_names_of_policies() -> None:
    """AWS checks calls about a rule against `rule/<name>`, and SendTask* against the token's state machine.

    Ministack checks against `rule/default/<name>` on the default bus, and against `*` for targets and task
    tokens. Only policies for every resource would allow that.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
    https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.aws_stepfunctions.StateMachine.html#granttaskresponseidentity
    """

    @resources_of("events")
    def rule(arn: str, call: Call) -> str:
        if call.action in ON_TARGETS:
            return f"arn:aws:events:{call.region}:{call.account}:rule/{json.loads(call.body)['Rule']}"
        return arn.replace(":rule/default/", ":rule/")

    @resources_of("states")
    def machine(arn: str, call: Call) -> str:
        if call.action in ANSWERS_OF_TASKS:
            return step_functions.machine_of_task(json.loads(call.body).get("taskToken", "")) or "*"
        return arn


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

    @resources_of("athena")
    def workgroup(_arn: str, call: Call) -> str:
        request = json.loads(call.body or b"{}")
        known = athena._named_queries.get(request.get("NamedQueryId")) or athena._executions.get(
            request.get("QueryExecutionId")
        )
        name = (known or request).get("WorkGroup", "primary")
        return f"arn:aws:athena:{call.region}:{call.account}:workgroup/{name}"


def check_batches_as_single_messages() -> None:
    """AWS checks a batch of messages as the action for one message; ministack checks actions of its own.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """

    @around(iam_actions, "extract_iam_action")
    def extract_iam_action(original: Callable[..., str | None], service: str, *arguments: Any) -> str | None:
        action = original(service, *arguments)
        return action.removesuffix("Batch") if service == "sqs" and action else action


def parse_policies_once() -> None:
    """For each call, ministack parses all policies of the caller again."""
    parsed: dict[str, Any] = {}

    @around(iam_evaluator, "parse_policy_document")
    def parse_policy_document(original: Callable[..., Any], document: Any) -> Any:
        if not isinstance(document, str):
            return original(document)
        if document not in parsed:
            parsed[document] = original(document)
        return parsed[document]


def record_decisions(path: Path) -> None:
    """Records decisions, so that tests/grants.py can compare what roles may do with what they did.

    The file has a line of JSON for each decision, and at most one a minute for equal ones. `at` is in
    seconds. `principal` is an ARN. `statement` is the id of the statement of the principal's own policies
    that decided, or empty if none matched. A resource's policy may have decided `allowed` instead.
    """
    _record.open(path)
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
        found: list[Any] = []
        reset = evaluated.set(found)
        try:
            denied = original(*arguments, **named)
        finally:
            evaluated.reset(reset)
        if found:  # else the caller is root or not authenticated
            record_decision(*found, allowed=denied is None)
        return denied


class _Record:
    """The file of the decisions. There is none until it is opened. Several threads add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._recorded: set[tuple[Any, ...]] = set()
        self._minute = 0

    def open(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def add(self, decision: tuple[Any, ...]) -> None:
        with self._lock:
            at = time.time()
            if at // 60 != self._minute:
                self._minute = int(at // 60)
                self._recorded.clear()
            if self._file and decision not in self._recorded:
                self._recorded.add(decision)
                names = ("principal", "action", "resource", "statement", "allowed")
                line = json.dumps({"at": at, **dict(zip(names, decision, strict=True))})
                self._file.write(f"{line}\n")


_record = _Record()


def record_decision(context: Any, statement: str, *, allowed: bool) -> None:
    """Records one decision. ``context`` is the emulator's EvalContext; see :func:`record_decisions`."""
    _record.add((context.principal_arn, context.action, context.resource_arn, statement, allowed))
