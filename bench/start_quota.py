"""Simulates AWS behind start_due_executions: any number of jobs, and the quota of StartExecution.

The real function runs with its real clients and their retries. This module answers their requests instead of
AWS, in virtual time. So a tick of 100,000 jobs takes minutes of CPU, but no waiting. Lambda is simulated too:
it runs the parts of a tick at the same time, each with a share of a CPU of its own, retries invocations that
failed, and stops a function that invokes itself too often.
"""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from bench.virtual_time import VirtualTime
from jobmanager.aws import clients as aws_clients
from jobmanager.core.errors import TickIncomplete
from jobmanager.executions import start_jobs
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
    "EXPRESS_STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:bench-run-job-express",
}


@dataclass(frozen=True)
class Quota:
    """AWS's quota of StartExecution for an account: ``burst`` at once, and ``rate`` more each second.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """

    where: str
    burst: int
    rate: int
    workflow_type: Literal["standard", "express"] = "standard"

    def seconds_for(self, starts: int) -> float:
        """The seconds after which the quota has allowed this number of starts."""
        return max(0.0, (starts - self.burst) / self.rate)


LARGE_REGIONS = Quota("us-east-1, us-west-2, eu-west-1", 1300, 300)
OTHER_REGIONS = Quota("other regions", 800, 150)
EXPRESS = Quota("all regions", 6000, 6000, "express")


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
    starts_each_10_seconds: tuple[int, ...]

    @property
    def lost(self) -> int:
        """Jobs that were not started at all."""
        return self.jobs - self.started


@dataclass(frozen=True)
class Cpu:
    """The CPU seconds of a whole core that calls take."""

    start: float
    page: float = 0.0
    """A page of 1,000 jobs. All other calls take as long as a start."""


class _Invocation:
    """One invocation: what is common to its tasks."""

    cpu_is_free_at = 0.0


class _Aws:
    """Answers the function's requests. A job's name contains its number."""

    def __init__(self, jobs: int, quota: Quota, cpu: Cpu, latency: float, clock: VirtualTime) -> None:
        self.jobs, self.quota, self.clock = jobs, quota, clock
        self._cpu, self._latency = cpu, latency
        self._tokens, self._filled_at = float(quota.burst), 0.0
        self._seen = bytearray(jobs)
        self.started = self.started_twice = self.throttled = 0
        self.last_start_at = 0.0
        self.each_10_seconds: list[int] = []
        self.handed_over: list[Tick] = []

    def answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        """Answers a request before botocore sends it, as a handler of its before-send event."""
        body = json.loads(request.body)
        is_count = body.get("Select") == "COUNT"
        is_page = "KeyConditionExpression" in body and not is_count
        self._pass_time(
            self._cpu.page if is_page else self._cpu.start, _SECONDS_OF_A_COUNT if is_count else 0
        )
        match event_name.rpartition(".")[2]:
            case "StartExecution":
                return self._start(json.loads(body["input"])["job_name"])
            case "Query":
                return _response(200, self._count(body) if is_count else self._page(body))
            case "GetItem":
                return _response(200, {"Item": {"job_count": {"N": str(self.jobs)}}})
            case "UpdateItem":
                return _response(200, {"Attributes": {}})
        raise ValueError(f"bench/start_quota.py does not simulate {event_name}; add an answer")

    def hand_over(self) -> None:
        """Lets the time of a call of Lambda pass."""
        self._pass_time(self._cpu.start)

    def _pass_time(self, cpu_seconds: float, more_latency: float = 0) -> None:
        """Lets the time of a call pass: the threads share the invocation's CPU, and wait in parallel."""
        invocation, now = self.clock.owner, self.clock.now()
        invocation.cpu_is_free_at = max(now, invocation.cpu_is_free_at) + cpu_seconds
        self.clock.sleep(invocation.cpu_is_free_at - now + self._latency + more_latency)

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
        numbers = self._numbers(query)
        items = [due_item(number) | self._type for number in numbers]
        return {"Items": items, "Count": len(items), **self._continued(query, numbers)}

    def _count(self, query: dict[str, Any]) -> dict[str, Any]:
        numbers = self._numbers(query)
        return {
            "Count": len(numbers) if self._type else 0,
            "ScannedCount": len(numbers),
            **self._continued(query, numbers),
        }

    def _numbers(self, query: dict[str, Any]) -> range:
        after = query.get("ExclusiveStartKey")
        first = _number_in(after["job_name"]) + 1 if after else 0
        return range(first, min(first + query["Limit"], self._end(query)))

    def _end(self, query: dict[str, Any]) -> int:
        until = query["ExpressionAttributeValues"].get(":until")
        return _number_in(until) + 1 if until else self.jobs

    def _continued(self, query: dict[str, Any], numbers: range) -> dict[str, Any]:
        is_last = not numbers or numbers[-1] + 1 == self._end(query)
        return {} if is_last else {"LastEvaluatedKey": _index_item(numbers[-1])}

    @property
    def _type(self) -> dict[str, Any]:
        is_express = self.quota.workflow_type == "express"
        return {"workflow_type": {"S": "express"}} if is_express else {}


def _number_in(name: dict[str, str]) -> int:
    return int(name["S"].rpartition("-")[2])


# A count reads up to 2,500 jobs of the index, about half a megabyte.
_SECONDS_OF_A_COUNT = 0.1

_LIMITS = {"ttl_seconds": {"N": "300"}, "max_duration_seconds": {"N": "86400"}, "async": {"BOOL": True}}


def due_item(number: int) -> dict[str, Any]:
    """An item of the index by which a tick finds its jobs."""
    return _index_item(number) | _LIMITS


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
        sleeping = SimpleNamespace(sleep=aws.clock.sleep)
        stack.enter_context(patch("jobmanager.core.retry.time", sleeping))
        stack.enter_context(patch.object(start_jobs, "trace_in_threads", lambda: None))
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


def fan_out(jobs: int, quota: Quota, function: Lambda, cpu: Cpu, latency: float = 0.03) -> FanOut:
    """Delivers one tick to start_due_executions, and follows it until its last invocation ends.

    Args:
        jobs: The number of jobs on the schedule.
        quota: The quota of StartExecution.
        function: The settings of the function.
        cpu: The CPU time of calls, on a whole vCPU.
        latency: The seconds until AWS answers a call.
    """
    clock = VirtualTime()
    aws = _Aws(jobs, quota, Cpu(cpu.start / function.cpus, cpu.page / function.cpus), latency, clock)
    ran = _Invocations(function, aws, clock)
    with _clients_answered_by(aws), patch.object(start_jobs, "ThreadPoolExecutor", clock.pool):
        ran.begin({"schedule": SCHEDULE, "scheduled_time": _SCHEDULED_TIME}, 1)
        clock.run()
    return FanOut(
        jobs=jobs,
        started=aws.started,
        started_twice=aws.started_twice,
        last_start_at=aws.last_start_at,
        invocations=ran.number,
        failed_invocations=ran.failed,
        longest_chain=ran.longest_chain,
        throttled=aws.throttled,
        billed_seconds=ran.billed_seconds,
        starts_each_10_seconds=tuple(aws.each_10_seconds),
    )


class _Invocations:
    """Lambda: runs all invocations that have begun at the same time."""

    def __init__(self, function: Lambda, aws: _Aws, clock: VirtualTime) -> None:
        self._function, self._aws, self._clock = function, aws, clock
        self.number = self.failed = self.longest_chain = 0
        self.billed_seconds = 0.0

    def begin(self, tick: Tick, links: int) -> None:
        """Delivers a tick, or a part of it. ``links``: the length of the chain of invocations."""
        if links <= self._function.longest_chain:
            self._clock.begin(lambda: self._deliver(tick, links), _Invocation())

    def _deliver(self, tick: Tick, links: int) -> None:
        self._clock.sleep(self._function.seconds_to_begin)
        self.longest_chain = max(self.longest_chain, links)
        for pause in (*self._function.seconds_between_tries, 0.0):
            began = self._clock.now()
            is_complete = self._invoke(tick, links, began)
            self.number += 1
            self.failed += not is_complete
            self.billed_seconds += self._clock.now() - began
            if is_complete:
                break
            self._clock.sleep(pause)

    def _invoke(self, tick: Tick, links: int, began: float) -> bool:
        def remaining_ms() -> int:
            return int((began + self._function.timeout_seconds - self._clock.now()) * 1000)

        def hand_over(rest: Tick) -> None:
            self._aws.hand_over()
            self.begin(rest, links + 1)

        try:
            ticks.start_due_executions(tick, remaining_ms, hand_over, self._clock.sleep)
        except TickIncomplete:
            return False
        return True


class _NoTime(VirtualTime):
    """A clock for real threads, by which all takes no time."""

    owner = _Invocation()

    def sleep(self, seconds: float) -> None:
        """Returns at once."""


def peak_mb_of_a_part(jobs: int) -> float:
    """Starts the jobs of one part, with real threads; returns the most memory that this process ever had."""
    aws = _Aws(jobs, Quota("nowhere", jobs, jobs), Cpu(0), 0, _NoTime())
    part: Tick = {"schedule": SCHEDULE, "scheduled_time": _SCHEDULED_TIME, "after": ""}
    with _clients_answered_by(aws):
        started = ticks.start_due_executions(part, lambda: 900_000, lambda rest: None)
    if started != jobs:
        raise RuntimeError(f"{started} of {jobs} jobs were started")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
