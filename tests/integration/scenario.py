"""Helpers for scenarios: the stage's API, ticks that a test delivers itself, and the history."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from local.api_client import ApiResponse, api_response, path_of
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause, perform
from tests.integration.contract import CheckedApi
from tests.integration.polling import poll

MOST_SECONDS_HELD = 600
FINAL = ("success", "fail", "timeout", "skipped", "cancelled")

type Json = dict[str, Any]


def own_schedule() -> str:
    """A schedule that no other test uses, and that does not fire while the tests run."""
    day, month = random.randint(1, 28), random.randint(1, 12)
    return (
        f"cron({random.randint(0, 59)} {random.randint(0, 23)} {day} {month} ? {random.randint(2100, 2199)})"
    )


def is_silent(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """A service that accepts every attempt and never calls back."""


def fails(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """A service that fails every attempt."""
    callbacks.fail("LedgerBusy")


class Held:
    """A service's work that succeeds when the test releases it."""

    def __init__(self) -> None:
        self._released = threading.Event()

    def __call__(self, _: Notification, callbacks: Callbacks, __: Pause) -> None:
        self._released.wait(MOST_SECONDS_HELD)
        callbacks.success()

    def release(self) -> None:
        """Lets all waiting work succeed. Later work succeeds at once."""
        self._released.set()


@dataclass(frozen=True)
class Answer:
    """An answer to a callback."""

    status: int
    body: Json


@dataclass(frozen=True)
class Scenario:
    """One service and one schedule on the stage that no other test uses."""

    aws: Any
    outputs: Json
    api: CheckedApi
    service_name: str
    schedule: str
    services: list[ObservedService] = field(default_factory=list)

    def job_path(self, job_name: str, *more: str) -> str:
        """``/services/…/jobs/…``."""
        return path_of("services", self.service_name, "jobs", job_name, *more)

    def put(self, job_name: str, expected: tuple[int, ...] = (200, 201), **fields: Any) -> ApiResponse:
        """PUTs a job on this scenario's schedule, over SNS or to a given target. Does not test the target."""
        kind = "http" if "invocation_target" in fields else "sns"
        body = {"schedule": self.schedule, "invocation_type": kind, "test_invocation": False, **fields}
        body = {name: value for name, value in body.items() if value is not None}
        answer = self.api.request("PUT", self.job_path(job_name), body)
        assert answer.status in expected, answer
        return answer

    def post(self, path: str, expected: int = 201, body: Json | None = None, key: str | None = None) -> Json:
        """POSTs, perhaps with an Idempotency-Key; returns what is answered with the expected status."""
        answer = self.api.request("POST", path, body, {"idempotency-key": key} if key else None)
        assert answer.status == expected, answer
        result: Json = answer.body
        return result

    def limit_path(self, *more: str) -> str:
        """``/services/…/limits/…``."""
        return path_of("services", self.service_name, "limits", *more)

    def put_limit(self, name: str, expected: tuple[int, ...] = (200, 201), **fields: Any) -> ApiResponse:
        """PUTs a limit of this scenario's service."""
        answer = self.api.request("PUT", self.limit_path(name), fields)
        assert answer.status in expected, answer
        return answer

    def limit(self, name: str) -> Json:
        """The limit, from the API."""
        answer = self.api.request("GET", self.limit_path(name))
        assert answer.status == 200, answer
        body: Json = answer.body
        return body

    def job(self, job_name: str) -> Json:
        """The job, from the API."""
        answer = self.api.request("GET", self.job_path(job_name))
        assert answer.status == 200, answer
        body: Json = answer.body
        return body

    def delete(self, job_name: str) -> None:
        """Deletes a job with the API."""
        assert self.api.request("DELETE", self.job_path(job_name)).status == 204

    def set_back(self, job_name: str, since_ms: int = 0) -> None:
        """Writes an early activation time into a job's item, so that late ticks start it too."""
        self.aws.client("dynamodb").update_item(
            TableName=self.outputs["jobs_table_name"],
            Key=to_item({"service_name": self.service_name, "job_name": job_name}),
            UpdateExpression="SET active_since_ms = :since",
            ConditionExpression="attribute_exists(active_since_ms)",
            ExpressionAttributeValues=to_item({":since": since_ms}),
        )

    def pass_lock_on(self, job_name: str, holder: str) -> None:
        """Writes another holder of the lock into a job's item, as if the lock had expired."""
        self.aws.client("dynamodb").update_item(
            TableName=self.outputs["jobs_table_name"],
            Key=to_item({"service_name": self.service_name, "job_name": job_name}),
            UpdateExpression="SET lock_execution = :holder",
            ConditionExpression="attribute_exists(lock_execution)",
            ExpressionAttributeValues=to_item({":holder": holder}),
        )

    def free_lock(self, job_name: str) -> None:
        """Removes the lock from a job's item."""
        self.aws.client("dynamodb").update_item(
            TableName=self.outputs["jobs_table_name"],
            Key=to_item({"service_name": self.service_name, "job_name": job_name}),
            UpdateExpression="REMOVE lock_execution, lock_expires_at",
        )

    def tick(self, at_ms: int | None = None, schedule: str | None = None) -> int:
        """Delivers a tick to the real function, as a rule does. Returns its scheduled_time in ms."""
        at_ms = at_ms or self.tick_time()
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.outputs["function_names"]["start_due_executions"],
            Payload=json.dumps({"schedule": schedule or self.schedule, "scheduled_time": iso(at_ms)}),
        )
        result = answer["Payload"].read()
        assert "FunctionError" not in answer, result
        return at_ms

    def execution_id(self, job_name: str, at_ms: int) -> str:
        """The id of the execution of a job at a tick."""
        return execution_id(job_guid(self.service_name, job_name), at_ms)

    def execution(self, job_name: str, at_ms: int) -> Json | None:
        """The execution of a tick, from the API. None if it does not exist yet."""
        return self.execution_named(job_name, self.execution_id(job_name, at_ms))

    def execution_named(self, job_name: str, name: str) -> Json | None:
        """The execution with this id, from the API. None if it does not exist yet."""
        answer = self.api.request("GET", self.job_path(job_name, "executions", name))
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    def wait_until(self, job_name: str, at_ms: int, *statuses: str, seconds: float = 60) -> Json:
        """Waits for the execution of a tick as :meth:`wait_for` does."""
        return self.wait_for(job_name, self.execution_id(job_name, at_ms), *statuses, seconds=seconds)

    def wait_for(self, job_name: str, name: str, *statuses: str, seconds: float = 60) -> Json:
        """Waits for an execution to have one of these statuses; fails as soon as it ends in another."""

        def look() -> Json | None:
            found = self.execution_named(job_name, name)
            if found is None or (found["status"] not in statuses and found["status"] not in FINAL):
                return None
            assert found["status"] in statuses, found
            return found

        return poll(look, seconds, f"{' or '.join(statuses)} of {name} of {job_name}")

    def history(self, job_name: str, query: str = "") -> list[Json]:
        """The executions of a job from the API, newest first. ``query`` is for example ``status=fail``."""
        path = self.job_path(job_name, "executions")
        return self._results(f"{path}?{query}" if query else path)

    def newest_executions(self) -> list[Json]:
        """The 20 newest executions of the service, from the API."""
        return self._results(f"{path_of('services', self.service_name, 'executions')}?limit=20")

    def _results(self, path: str) -> list[Json]:
        answer = self.api.request("GET", path)
        assert answer.status == 200, answer
        results: list[Json] = answer.body["results"]
        return results

    def machine_arn(self, job_name: str, at_ms: int) -> str:
        """The ARN of the Step Functions execution."""
        arn: str = self.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
        return f"{arn}:{self.execution_id(job_name, at_ms)}"

    def machine(self, job_name: str, at_ms: int, seconds: float = 30) -> Json:
        """The Step Functions execution, once it has ended."""
        client = self.aws.client("stepfunctions")

        def look() -> Json | None:
            found: Json = client.describe_execution(executionArn=self.machine_arn(job_name, at_ms))
            return None if found["status"] == "RUNNING" else found

        return poll(look, seconds, f"end of the machine of {job_name}")

    def machine_events(self, job_name: str, at_ms: int) -> list[Json]:
        """The history that Step Functions keeps of an execution."""
        events: list[Json] = self.aws.client("stepfunctions").get_execution_history(
            executionArn=self.machine_arn(job_name, at_ms), maxResults=1000
        )["events"]
        return events

    def rules(self) -> list[Json]:
        """The stage's rules with this scenario's schedule."""
        pages = self.aws.client("events").get_paginator("list_rules")
        found = pages.paginate(NamePrefix=f"{self.outputs['prefix']}-schedule-").build_full_result()["Rules"]
        return [rule for rule in found if rule.get("ScheduleExpression") == self.schedule]

    def service(
        self,
        over_sns: bool = False,
        work: Callable[[Notification, Callbacks, Pause], None] = perform,
    ) -> ObservedService:
        """The sample service, to be used in a with block."""
        topic = self.outputs["notifications_topic_arn"] if over_sns else None
        service = ObservedService(self.service_name, topic, work=work)
        self.services.append(service)
        return service

    def checked_event(self, event: Json) -> Json:
        """Checks an event against the document, and returns it; see :meth:`check_messages`."""
        self.api.contract.check_event(event)
        return event

    def check_messages(self) -> None:
        """Fails if an event or a notification that was received is not one that the document has."""
        contract = self.api.contract
        for service in self.services:
            for received in service.received:
                contract.check_notification(received.notification)
        broken, contract.broken_messages = contract.broken_messages, []
        assert not broken, f"against the document: {broken}"

    @staticmethod
    def tick_time() -> int:
        """The scheduled_time, in ms, of a tick at this time."""
        return int(time.time()) * 1000

    def start(self, due: Json) -> int:
        """Starts the state machine as start_due_executions does, with the schedule that fired."""
        at_ms = self.tick_time()
        name = self.execution_id(due["job_name"], at_ms)
        guid = job_guid(self.service_name, due["job_name"])
        whole = {**due, "job_guid": guid, "execution_id": name, "scheduled_time": iso(at_ms)}
        self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.outputs["state_machine_arn"], name=name, input=json.dumps(whole)
        )
        return at_ms

    def callback(self, url: str, body: Any, content_type: str = "application/json") -> Answer:
        """POSTs to a callback_url without credentials, and checks the answer against the document."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(url, data=data, headers={"content-type": content_type}, method="POST")
        try:
            with urlopen(request, timeout=120) as answer:
                response = api_response(answer.status, answer.headers.items(), answer.read())
        except HTTPError as error:
            with error:
                response = api_response(error.code, error.headers.items(), error.read())
        self.api.contract.check("POST", url.removeprefix(self.outputs["api_url"]), response)
        return Answer(response.status, response.body)
