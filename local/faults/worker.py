"""Runs in the processes of the functions, so it uses only boto3 and the standard library.

It looks up each invocation in the directory of plans, by the subjects of its event. If there is a plan, it
records the invocation's calls there, and makes those fail that the plan names. Without a plan, it only checks
whether a few files exist.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus
from uuid import NAMESPACE_URL, uuid5

THROTTLE, FAIL, LOSE, KILL = KINDS = ("throttle", "fail", "lose", "kill")
"""Throttled once; always refused; done, but the answer is lost once; done, and then the function dies."""

SERVICES = {
    "DynamoDB_20120810": "dynamodb",
    "AWSStepFunctions": "states",
    "AWSEvents": "events",
    "TrentService": "kms",
    "AmazonSQS": "sqs",
}
WEBHOOK = "http.POST"
GUID_CHARACTERS = 36

type Json = dict[str, Any]


def subjects(event: Any) -> Iterator[str]:
    """The subjects of an event, the most specific first.

    They are a test's marker, executions, the GUIDs of jobs, limits (see :func:`limit_subject`), schedules.
    """
    if not isinstance(event, dict):
        return
    if isinstance(event.get("faults"), str):
        yield event["faults"]
    places = (event, event.get("execution"), event.get("pathParameters"), *messages(event))
    found = [facts for facts in places if isinstance(facts, dict)]
    executions = [name for facts in found if (name := execution_of(facts))]
    yield from dict.fromkeys(executions)
    jobs = [guid_of(facts) for facts in found if "service_name" in facts and "job_name" in facts]
    yield from dict.fromkeys([*jobs, *(name[:GUID_CHARACTERS] for name in executions)])
    for facts in found:
        if "service_name" in facts and "limit_name" in facts:
            yield limit_subject(facts["service_name"], facts["limit_name"])
    yield from (
        text for text in (event.get("schedule"), *event.get("schedules", ())) if isinstance(text, str)
    )


def execution_of(facts: Json) -> str | None:
    """The execution that an event names, in a callback token or otherwise."""
    if "callback_token" in facts:
        return str(facts["callback_token"]).partition(".")[0]
    name = facts.get("execution_id", facts.get("waiting_execution"))
    return name if isinstance(name, str) else None


def guid_of(facts: Json) -> str:
    """The GUID of the job that an event names."""
    return str(uuid5(NAMESPACE_URL, f"{facts['service_name']}--{facts['job_name']}"))


def limit_subject(service_name: str, limit_name: str) -> str:
    """The subject of events about a limit."""
    return f"limit {service_name}/{limit_name}"


def messages(event: Json) -> Iterator[Any]:
    """The messages of an event from SQS."""
    for record in event.get("Records", ()):
        if isinstance(record, dict) and isinstance(record.get("body"), str):
            with contextlib.suppress(ValueError):
                yield json.loads(record["body"])


def key_of(subject: str) -> str:
    """The name of a subject's files."""
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


def planned(directory: Path, event: Any) -> tuple[str, list[Json]] | None:
    """The key and the faults of the plan for an event."""
    for subject in subjects(event):
        path = directory / f"{key_of(subject)}.json"
        if path.exists():
            return path.stem, json.loads(path.read_text())
    return None


def is_due(directory: Path, fault: Json, wanted: Json) -> bool:
    """Whether a fault hits this call now. Most hit one call only."""
    if not fault["kind"] or any(fault[name] != value for name, value in wanted.items()):
        return False
    try:
        (directory / f"{fault['name']}.happened").touch(exist_ok=fault["kind"] == FAIL)
    except FileExistsError:
        return False
    return True


class Invocation:
    """One invocation with a plan. Counts its calls, and decides which fault hits each."""

    def __init__(self, directory: Path, step: str, key: str, faults: list[Json]) -> None:
        self._directory = directory
        self._step = step
        self._key = key
        self._faults = faults
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def happens(self, operation: str, content: str) -> str | None:
        """Records a call. Returns the kind of fault that hits it."""
        with self._lock:
            about = next(
                (name for name, texts in self._abouts() if any(text in content for text in texts)), ""
            )
            self._counts[about, operation] += 1
            call = f"{operation}#{self._counts[about, operation]}"
            wanted = {"step": self._step, "call": call, "about": about}
            kind = next(
                (fault["kind"] for fault in self._faults if is_due(self._directory, fault, wanted)), None
            )
            with (self._directory / f"{self._key}.calls").open("a") as calls:
                calls.write(json.dumps({**wanted, "kind": kind}) + "\n")
        return kind

    def _abouts(self) -> Iterator[tuple[str, list[str]]]:
        yield from ((fault["about"], fault["texts"]) for fault in self._faults if fault["about"])


class Now:
    """The current invocation of this process. A function serves one invocation at a time."""

    invocation: Invocation | None = None


def begin(function_name: str, event: Any) -> None:
    """Call this before each invocation of the function's handler, after the handler was loaded."""
    _intercept_webhooks()
    directory = Path(os.environ["FAULTS_DIRECTORY"])
    found = planned(directory, event)
    Now.invocation = Invocation(directory, _step(function_name, event), *found) if found else None


def _step(function_name: str, event: Json) -> str:
    """The function's name, and what distinguishes its invocations.

    For receive_callback, the status distinguishes heartbeats from results. For run_execution, it is whether
    the execution has begun: a later attempt, one by hand, or one that has waited.
    """
    if "callback_token" in (event.get("pathParameters") or {}):
        return f"{function_name}:{json.loads(event['body'])['status']}"
    return f"{function_name}:begun" if "started_at_ms" in (event.get("execution") or {}) else function_name


def install() -> None:
    """Intercepts the calls between the function's code and the network."""
    _intercept_aws_calls()


def _intercept_aws_calls() -> None:
    from botocore.awsrequest import AWSResponse, HeadersDict
    from botocore.exceptions import ConnectionClosedError
    from botocore.httpsession import URLLib3Session

    call = threading.local()
    original = URLLib3Session.send

    def send(session: URLLib3Session, request: Any) -> AWSResponse:
        if Now.invocation is None:
            return original(session, request)
        # A retry by the SDK belongs to the call that it retries.
        is_first = b"attempt=1" in _bytes(request.headers.get("amz-sdk-request", b"attempt=1"))
        if is_first:
            call.kind = Now.invocation.happens(*_operation(request))
        kind = call.kind if is_first or call.kind == FAIL else None
        if kind in (THROTTLE, FAIL):
            return refusal(request, "ThrottlingException" if kind == THROTTLE else "AccessDeniedException")
        response = original(session, request)
        if kind == KILL:
            os._exit(1)
        if kind == LOSE:
            raise ConnectionClosedError(endpoint_url=request.url)
        return response

    def refusal(request: Any, code: str) -> AWSResponse:
        content = json.dumps({"__type": code, "message": "a planned fault"})
        if _operation(request)[0].startswith("sns."):
            error = f"<Type>Sender</Type><Code>{code}</Code><Message>a planned fault</Message>"
            content = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        headers: Any = HeadersDict({"x-amzn-errortype": code, "content-type": "application/json"})
        return AWSResponse(request.url, 400, headers, _Raw(content.encode()))

    _replace(URLLib3Session, "send", send)


class _Raw(io.BytesIO):
    """The part of urllib3's answer that botocore reads."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _operation(request: Any) -> tuple[str, str]:
    """The operation with its service, and the text of the request."""
    content = _bytes(request.body or b"").decode(errors="replace")
    service, _, operation = _bytes(request.headers.get("x-amz-target", b"")).decode().partition(".")
    if operation:
        return f"{SERVICES[service]}.{operation}", content
    if content.startswith("Action="):
        action = content.removeprefix("Action=").partition("&")[0]
        return f"sns.{action}", unquote_plus(content)
    return "lambda.Invoke", content


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _intercept_webhooks() -> None:
    """Intercepts webhooks, if the function sends any. Does nothing the second time."""
    webhook: Any = sys.modules.get("jobmanager.targets.webhook")
    if webhook is None or hasattr(webhook, "exchange_without_faults"):
        return
    webhook.exchange_without_faults = original = webhook._exchange

    def exchange(target: Any, opened: Any, content: bytes, *more: Any) -> Any:
        if Now.invocation is None:
            return original(target, opened, content, *more)
        kind = Now.invocation.happens(WEBHOOK, content.decode(errors="replace"))
        if kind in (THROTTLE, FAIL):
            return webhook.Answer(429 if kind == THROTTLE else 503)
        answer = original(target, opened, content, *more)
        if kind == KILL:
            os._exit(1)
        if kind == LOSE:
            raise ConnectionResetError("the answer was lost by a planned fault")
        return answer

    webhook._exchange = exchange


def _replace(owner: type, name: str, ours: Any) -> None:
    setattr(owner, name, ours)
