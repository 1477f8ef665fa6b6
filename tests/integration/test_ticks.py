"""Ticks start each due job once, even if they are delivered twice or concurrently, or are throttled."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.request import Request, urlopen

import pytest

from jobmanager.aws import clients as aws_clients
from jobmanager.core.clock import iso
from jobmanager.executions import tick_parts
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from local.sample_service import Server
from tests.exhaustive import cases
from tests.integration.conftest import required
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

MANY = cases(60, 250)


def test_three_concurrent_deliveries_of_a_tick_make_one_execution_and_one_notification(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True) as service:
        for name in ("a", "b"):
            scenario.put(name)
        at_ms = scenario.tick()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: scenario.tick(at_ms), range(3)))
        for name in ("a", "b"):
            scenario.wait_until(name, at_ms, "success")
            scenario.machine(name, at_ms)
            assert len(scenario.history(name)) == 1
        scenario.tick(at_ms)
        assert sorted(received.job_name for received in service.received) == ["a", "b"]


class HalfThrottled(Server):
    """A proxy for Step Functions that throttles every other new start, and forwards the rest to the stage."""

    def __init__(self, endpoint: str) -> None:
        self.seen: set[str] = set()
        self.refused: set[str] = set()
        self.started: list[str] = []
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                name = json.loads(body)["name"]
                if proxy.refuses(name):
                    refusal = {"__type": "ThrottlingException", "message": "Rate exceeded"}
                    self.answer(400, json.dumps(refusal).encode())
                    return
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                with urlopen(Request(endpoint, data=body, headers=headers), timeout=120) as stage:
                    proxy.started.append(name)
                    self.answer(stage.status, stage.read())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def refuses(self, name: str) -> bool:
        """Whether to throttle this request: the first attempt of every other name."""
        with self.lock:
            if name in self.seen:
                return False
            self.seen.add(name)
            if len(self.seen) % 2:
                self.refused.add(name)
            return name in self.refused


@pytest.fixture
def throttled(outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[HalfThrottled]:
    proxy = HalfThrottled(required("AWS_ENDPOINT_URL"))
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", f"http://127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("JOBS_TABLE", outputs["jobs_table_name"])
    monkeypatch.setenv("STATE_MACHINE_ARN", outputs["state_machine_arn"])
    aws_clients._client.cache_clear()
    yield proxy
    aws_clients._client.cache_clear()
    proxy.shutdown()
    thread.join()
    proxy.server_close()


def put_many(scenario: Scenario) -> list[str]:
    """Registers one job with the API and copies it in the table, because so many PUTs would take minutes."""
    scenario.put("job-000")
    jobs_table = scenario.outputs["jobs_table_name"]
    client = scenario.aws.client("dynamodb")
    key = {"service_name": {"S": scenario.service_name}, "job_name": {"S": "job-000"}}
    template = client.get_item(TableName=jobs_table, Key=key)["Item"]
    names = [f"job-{number:03}" for number in range(MANY)]
    for name in names[1:]:
        job = {"job_name": {"S": name}, "job_key": {"S": f"{scenario.service_name}/{name}"}}
        client.put_item(TableName=jobs_table, Item=template | job)
    return names


@pytest.mark.samples
@pytest.mark.xdist_group("many executions")
def test_a_tick_for_many_jobs_starts_all_of_them(scenario: Scenario) -> None:
    put_many(scenario)
    at_ms = scenario.tick()
    assert_all_begin_once(scenario, at_ms)


@pytest.mark.samples
@pytest.mark.xdist_group("many executions")
def test_a_tick_for_many_jobs_starts_all_of_them_although_half_of_the_starts_are_throttled(
    scenario: Scenario, throttled: HalfThrottled
) -> None:
    put_many(scenario)
    at_ms = scenario.tick_time()
    tick: Tick = {"schedule": scenario.schedule, "scheduled_time": iso(at_ms)}
    assert (
        start_due_executions(tick, lambda: 300_000, lambda rest: pytest.fail(f"handed over {rest}")) == MANY
    )
    assert len(throttled.refused) == MANY // 2
    assert len(throttled.started) == len(set(throttled.started)) == MANY
    assert_all_begin_once(scenario, at_ms)


@pytest.mark.xdist_group("many executions")
def test_the_parts_of_a_tick_start_each_job_once(
    scenario: Scenario, outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_many(scenario)
    monkeypatch.setenv("JOBS_TABLE", outputs["jobs_table_name"])
    monkeypatch.setattr(tick_parts, "_MIN_JOBS_OF_A_PART", MANY // 4)
    at_ms = scenario.tick_time()
    aws_clients._client.cache_clear()
    parts = list(tick_parts.parts_of({"schedule": scenario.schedule, "scheduled_time": iso(at_ms)}, MANY))
    assert len(parts) >= 4
    started = []
    for part in (*parts, parts[0]):
        answer = scenario.aws.client("lambda").invoke(
            FunctionName=outputs["function_names"]["start_due_executions"], Payload=json.dumps(part)
        )
        started.append(json.load(answer["Payload"])["started"])
    assert started[0] == MANY // 4
    assert started[-1] == 0
    assert sum(started) == MANY
    assert_all_begin_once(scenario, at_ms)


def assert_all_begin_once(scenario: Scenario, at_ms: int) -> None:
    """Checks that each execution of the tick exists once. Stops their state machines, for the other tests."""
    table = scenario.outputs["executions_table_name"]
    pages = scenario.aws.client("dynamodb").get_paginator("query")

    def begun() -> list[str] | None:
        found = pages.paginate(
            TableName=table,
            IndexName="by_service",
            KeyConditionExpression="service_name = :service",
            ExpressionAttributeValues={":service": {"S": scenario.service_name}},
        ).build_full_result()["Items"]
        return [item["execution_id"]["S"] for item in found] if len(found) >= MANY else None

    identifiers = poll(begun, 120, f"{MANY} executions")
    assert len(identifiers) == len(set(identifiers)) == MANY
    machine = scenario.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
    for identifier in identifiers:
        scenario.aws.client("stepfunctions").stop_execution(executionArn=f"{machine}:{identifier}")


PAGE = 1000


@pytest.mark.xdist_group("many executions")
def test_a_tick_that_is_too_long_for_one_invocation_continues_in_another(
    scenario: Scenario, short_lived: str
) -> None:
    """A page of jobs without catch_up, which start nothing, precedes a job with catch_up."""
    scenario.put("a")
    scenario.put("z", catch_up="one")
    at_ms = scenario.tick_time() + 1000
    with scenario.service(over_sns=True), many_more(scenario, "a", PAGE - 1):
        tick: Tick = {"schedule": scenario.schedule, "scheduled_time": iso(at_ms), "catch_up": True}
        answer = scenario.aws.client("lambda").invoke(
            FunctionName=scenario.outputs["function_names"]["start_due_executions"],
            Qualifier=short_lived,
            Payload=json.dumps(tick),
        )
        assert json.load(answer["Payload"]) == {"started": 0}
        scenario.wait_until("z", at_ms, "success")
        assert scenario.history("a") == []


@pytest.fixture
def short_lived(aws: Any, outputs: dict[str, Any]) -> Iterator[str]:
    """A version of start_due_executions whose timeout is too short for two pages. Rules do not invoke it."""
    lambdas, name = aws.client("lambda"), outputs["function_names"]["start_due_executions"]
    updated = lambdas.get_waiter("function_updated_v2")
    timeout = lambdas.get_function_configuration(FunctionName=name)["Timeout"]
    lambdas.update_function_configuration(FunctionName=name, Timeout=120)
    try:
        updated.wait(FunctionName=name)
        version = lambdas.publish_version(FunctionName=name)["Version"]
    finally:
        lambdas.update_function_configuration(FunctionName=name, Timeout=timeout)
    updated.wait(FunctionName=name)
    yield version
    lambdas.delete_function(FunctionName=name, Qualifier=version)


@contextmanager
def many_more(scenario: Scenario, job_name: str, count: int) -> Iterator[None]:
    """Copies of a job on its schedule that sort after it. They are in the table, but in no list."""
    jobs_table, client = scenario.outputs["jobs_table_name"], scenario.aws.client("dynamodb")
    key = {"service_name": {"S": scenario.service_name}, "job_name": {"S": job_name}}
    template = client.get_item(TableName=jobs_table, Key=key)["Item"]
    template.pop("catalog", None)
    names = [f"{job_name}-{number:04}" for number in range(count)]
    items = [
        template | {"job_name": {"S": name}, "job_key": {"S": f"{scenario.service_name}/{name}"}}
        for name in names
    ]
    keys = [key | {"job_name": {"S": name}} for name in names]

    def write(requests: list[dict[str, Any]]) -> None:
        for start in range(0, count, 25):
            client.batch_write_item(RequestItems={jobs_table: requests[start : start + 25]})

    write([{"PutRequest": {"Item": item}} for item in items])
    try:
        yield
    finally:
        write([{"DeleteRequest": {"Key": each}} for each in keys])
