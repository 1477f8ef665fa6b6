"""Simulates AWS behind start_due_executions: any number of jobs, and the quota of StartExecution.

The real function runs with its real clients and their retries. This module answers their requests instead of
AWS, in virtual time. So a tick of 100,000 jobs takes minutes of CPU, but no waiting. Lambda is simulated too:
it limits the duration of an invocation and its share of a CPU, retries failed invocations, and stops a
function that invokes itself too often.
"""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from aws_xray_sdk.core import xray_recorder
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from bench.virtual_time import VirtualTime
from jobmanager.aws import clients as aws_clients
from jobmanager.core.errors import TickIncomplete
from jobmanager.executions import tick as ticks
from jobmanager.executions.tick_parts import Tick

SCHEDULE = "rate(1 hour)"
SECONDS_LEFT_AT_HAND_OVER = 2 * ticks._TIME_FOR_A_PAGE_MS / 1000
_SCHEDULED_TIME = "2026-11-25T12:00:00Z"
_SERVICE = "bench"

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "JOBS_TABLE": "jobs",
    "SCHEDULES_TABLE": "schedules",
    "STAGE": "bench",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:bench-run-job",
}


@dataclass(frozen=True)
class Quota:
    """AWS's quota of StartExecution for an account: ``burst`` at once, and ``rate`` more each second.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """

    where: str
    burst: int
    rate: int

    def seconds_for(self, starts: int) -> float:
        """The seconds after which the quota has allowed this number of starts."""
        return max(0.0, (starts - self.burst) / self.rate)


LARGE_REGIONS = Quota("us-east-1, us-west-2, eu-west-1", 1300, 300)
OTHER_REGIONS = Quota("other regions", 800, 150)


@dataclass(frozen=True)
class Lambda:
    """A function's settings, and the rules by which Lambda runs it.

    A function with 1,769 MB has one vCPU:
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    Lambda stops a chain of more than 16 invocations, which it recognizes by their trace header:
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    Lambda retries a failed asynchronous invocation after 1 minute, and again after 2 more:
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    memory_mb: int
    timeout_seconds: float = 300
    seconds_to_begin: float = 1.0
    longest_chain: int = 16
    seconds_between_tries: tuple[float, ...] = (60, 120)

    @property
    def cpus(self) -> float:
        """The function's share of a vCPU. A Python process cannot use more than one."""
        return min(1.0, self.memory_mb / 1769)


@dataclass(frozen=True)
class FanOut:
    """The result of one tick. Times are in seconds since the tick."""

    jobs: int
    started: int
    started_twice: int
    last_start_at: float
    invocations: int
    failed_invocations: int
    longest_chain: int
    throttled: int
    billed_seconds: float
    peak_mb: float
    starts_each_10_seconds: tuple[int, ...]

    @property
    def lost(self) -> int:
        """Jobs that were not started at all."""
        return self.jobs - self.started


class _Aws:
    """Answers the function's requests. A job's name contains its number."""

    def __init__(
        self, jobs: int, quota: Quota, cpu_seconds: float, latency: float, clock: VirtualTime
    ) -> None:
        self.jobs, self.quota, self.clock = jobs, quota, clock
        self._cpu_seconds, self._latency = cpu_seconds, latency
        self._cpu_is_free_at = 0.0
        self._tokens, self._filled_at = float(quota.burst), 0.0
        self._seen = bytearray(jobs)
        self.started = self.started_twice = self.throttled = 0
        self.last_start_at = 0.0
        self.each_10_seconds: list[int] = []

    def answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        """Answers a request before botocore sends it, as a handler of its before-send event."""
        self._pass_time()
        body = json.loads(request.body)
        match event_name.rpartition(".")[2]:
            case "StartExecution":
                return self._start(json.loads(body["input"])["job_name"])
            case "Query":
                return _response(200, self._page(body))
            case "UpdateItem":
                return _response(200, {})
        raise ValueError(f"bench/start_quota.py does not simulate {event_name}; add an answer")

    def _pass_time(self) -> None:
        """Lets the time of a call pass: the threads share the CPU, but wait for AWS in parallel."""
        begins = max(self.clock.now(), self._cpu_is_free_at)
        self._cpu_is_free_at = begins + self._cpu_seconds
        self.clock.sleep(self._cpu_is_free_at - self.clock.now() + self._latency)

    def _start(self, job_name: str) -> AWSResponse:
        now = self.clock.now()
        self._tokens = min(self.quota.burst, self._tokens + (now - self._filled_at) * self.quota.rate)
        self._filled_at = now
        if self._tokens < 1:
            self.throttled += 1
            return _response(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
        self._tokens -= 1
        number = int(job_name.rpartition("-")[2])
        if self._seen[number]:
            self.started_twice += 1
            return _response(400, {"__type": "ExecutionAlreadyExists", "message": job_name})
        self._seen[number] = 1
        self.started += 1
        self.last_start_at = now
        period = int(now // 10)
        self.each_10_seconds += [0] * (period + 1 - len(self.each_10_seconds))
        self.each_10_seconds[period] += 1
        return _response(200, {"executionArn": f"arn:{job_name}", "startDate": 1.0})

    def _page(self, query: dict[str, Any]) -> dict[str, Any]:
        after = query.get("ExclusiveStartKey")
        first = int(after["job_name"]["S"].rpartition("-")[2]) + 1 if after else 0
        numbers = range(first, min(first + query["Limit"], self.jobs))
        items = [_index_item(number) | _LIMITS for number in numbers]
        is_last = first + query["Limit"] >= self.jobs
        return {
            "Items": items,
            "Count": len(items),
            **({} if is_last else {"LastEvaluatedKey": _index_item(numbers[-1])}),
        }


_LIMITS = {"ttl_seconds": {"N": "300"}, "max_duration_seconds": {"N": "86400"}, "async": {"BOOL": True}}


def _index_item(number: int) -> dict[str, Any]:
    name = f"job-{number:06}"
    fields = {"active_schedule": SCHEDULE, "job_key": f"{_SERVICE}/{name}"}
    fields |= {"service_name": _SERVICE, "job_name": name}
    return {field: {"S": value} for field, value in fields.items()}


@dataclass(frozen=True)
class _Body:
    """The raw body from which AWSResponse reads."""

    content: bytes

    def stream(self) -> Iterator[bytes]:
        yield self.content


def _response(status: int, body: dict[str, Any]) -> AWSResponse:
    headers = HTTPHeaders()
    headers["content-type"] = "application/x-amz-json-1.0"
    return AWSResponse("https://aws.invalid", status, headers, _Body(json.dumps(body).encode()))


@contextmanager
def _clients_answered_by(aws: _Aws) -> Iterator[None]:
    """Makes the function's clients again, so that ``aws`` answers their requests."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, _ENVIRONMENT))
        stack.enter_context(patch("botocore.endpoint.time.sleep", aws.clock.sleep))
        aws_clients._client.cache_clear()
        stack.callback(aws_clients._client.cache_clear)
        for client in (
            aws_clients.dynamodb(),
            aws_clients.step_functions(),
            aws_clients.untraced_step_functions(),
        ):
            events: Any = client.meta.events  # botocore's stubs do not know that a handler may answer
            events.register("before-send", aws.answer)
        yield


@contextmanager
def _unrecorded_trace() -> Iterator[None]:
    """Wraps an invocation in a trace that is not recorded, as most traces are not."""
    xray_recorder.begin_segment("bench", sampling=0)
    try:
        with xray_recorder.in_subsegment("start_due_executions"):
            yield
    finally:
        xray_recorder.end_segment()


def fan_out(
    jobs: int, quota: Quota, function: Lambda, cpu_seconds_per_call: float, latency: float = 0.03
) -> FanOut:
    """Delivers one tick to start_due_executions, and follows it until its last invocation ends.

    Args:
        jobs: The number of jobs on the schedule.
        quota: The quota of StartExecution.
        function: The settings of the function.
        cpu_seconds_per_call: The CPU time of one call, on a whole vCPU.
        latency: The seconds until AWS answers a call.
    """
    clock = VirtualTime()
    aws = _Aws(jobs, quota, cpu_seconds_per_call / function.cpus, latency, clock)
    pending: list[tuple[Tick, int, int]] = []
    pending.append(({"schedule": SCHEDULE, "scheduled_time": _SCHEDULED_TIME}, 1, 0))
    invocations = failed = chain = 0
    billed = 0.0
    with _clients_answered_by(aws), patch.object(ticks, "ThreadPoolExecutor", clock.pool):
        while pending:
            tick, links, tries = pending.pop(0)
            if links > function.longest_chain:
                break
            clock.sleep(function.seconds_to_begin)
            began = clock.now()
            invocations, chain = invocations + 1, max(chain, links)

            def remaining_ms(began: float = began) -> int:
                return int((began + function.timeout_seconds - clock.now()) * 1000)

            def hand_over(rest: Tick, links: int = links) -> None:
                pending.append((rest, links + 1, 0))

            try:
                with _unrecorded_trace():
                    ticks.start_due_executions(tick, remaining_ms, hand_over, clock.sleep)
            except TickIncomplete:
                failed += 1
                if tries < len(function.seconds_between_tries):
                    clock.sleep(function.seconds_between_tries[tries])
                    pending.append((tick, links, tries + 1))
            billed += clock.now() - began
    return FanOut(
        jobs=jobs,
        started=aws.started,
        started_twice=aws.started_twice,
        last_start_at=aws.last_start_at,
        invocations=invocations,
        failed_invocations=failed,
        longest_chain=chain,
        throttled=aws.throttled,
        billed_seconds=billed,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        starts_each_10_seconds=tuple(aws.each_10_seconds),
    )
