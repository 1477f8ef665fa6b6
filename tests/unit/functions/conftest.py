"""Gives each test of the functions an environment with fake keys, and a stage's tables, topics and key."""

import copy
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.backends import get_backend

from functions.get_openapi.handler import openapi
from jobmanager.aws import clients as aws
from jobmanager.delivery import notification, trial
from jobmanager.targets import target as web_target
from tests.function_settings import SETTINGS
from tests.openapi_document import Document
from tests.stand_ins import dynamodb_client, stage_tables
from tests.stand_ins.dynamodb import Tables
from tests.unit.functions import quick_moto
from tests.unit.functions.examples import ACCOUNT, MACHINE
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

_ENVIRONMENT = SETTINGS | {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "STAGE": "test",
    "PREFIX": "sjm-test",
    "POWERTOOLS_SERVICE_NAME": "test",
    "STATE_MACHINE_ARN": MACHINE,
    "EXPRESS_STATE_MACHINE_ARN": f"{MACHINE}-express",
    "NOTIFICATIONS_TOPIC_ARN": f"arn:aws:sns:us-east-1:{ACCOUNT}:notifications",
    "EVENTS_TOPIC_ARN": f"arn:aws:sns:us-east-1:{ACCOUNT}:events",
    "PAUSE_FAILING_JOB_ARN": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:pause-failing-job",
    "START_WAITING_EXECUTIONS_ARN": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:start-waiting",
    "SPREAD_QUEUE_URL": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/spread",
    "START_CHILDREN_ARN": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:start-children",
    "START_DUE_EXECUTIONS_ARN": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:start",
    "TICK_DEAD_LETTER_QUEUE_ARN": f"arn:aws:sqs:us-east-1:{ACCOUNT}:ticks",
    "SCHEDULER_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/sjm-test-scheduler",
}


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        quick_moto.apply(patch)
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no time pass between a function's invocation and its writes."""
    still = SimpleNamespace(time_ns=time.time_ns, monotonic=lambda: 0.0)
    monkeypatch.setattr("jobmanager.core.clock.time", still)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolves names that end in .example to one public address, and numeric addresses; no other names."""

    def resolve(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if isinstance(host, str) and host.endswith(".example"):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]
        return numeric(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)

    numeric = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets names resolve and targets answer even if a thread is seconds late. Tests of limits set them."""
    monkeypatch.setattr(web_target, "_MAX_RESOLVE_SECONDS", 60)
    for module in (notification, trial):
        monkeypatch.setattr(module, "ANSWER_WITHIN_SECONDS", 60)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    """A stage's tables, and moto with its topics and key.

    Every event and notification that the functions publish must match the OpenAPI document.
    """
    broken: list[str] = []
    _one_call_at_a_time(monkeypatch, broken)
    _check_webhooks(monkeypatch, broken)
    quick_moto.send_without_signatures(monkeypatch)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", _session())
    monkeypatch.setattr(aws, "_client", _clients_of_unit_tests)
    with mock_aws(config={"core": {"reset_boto3_session": False}}):
        key = _restore(_new_stage())
        for setting in ("PAGING_KEY_ARN", "SECRETS_KEY_ARN"):
            monkeypatch.setenv(setting, key)
        tables = Tables(stage_tables.tables(), now_ms=lambda: 0, late_ms=lambda: 0)
        dynamodb_client.answer_from(tables, monkeypatch)
        yield tables
    assert broken == [], "messages that do not match the OpenAPI document"


@cache
def _session() -> boto3.Session:
    """One session for all tests of a process, because a new session would read botocore's files again."""
    return boto3.Session()


# A client takes more time than many calls, so these are kept, apart from those of the local stage.
_clients_of_unit_tests = cache(aws._client.__wrapped__)


@cache
def _new_stage() -> tuple[str, dict[str, tuple[Any, dict[str, Any]]]]:
    """The ARN of a new stage's key, and for each service the backend of moto and a copy of its state."""
    with pytest.MonkeyPatch.context() as patch:
        # moto generates an RSA key for every key, even for a symmetric one, which is slow.
        patch.setattr("moto.kms.models.generate_private_key", lambda key_spec: None)
        key = aws.kms().create_key()["KeyMetadata"]["Arn"]
        for name in ("notifications", "events"):
            aws.sns().create_topic(Name=name)
    backends = {service: _backend(service) for service in ("kms", "sns")}
    return key, {service: (made, _copy_for(made, made, vars(made))) for service, made in backends.items()}


def _restore(stage: tuple[str, dict[str, tuple[Any, dict[str, Any]]]]) -> str:
    """Gives moto a copy of the new stage's state, and returns the ARN of the stage's key."""
    key, services = stage
    for service, (made, state) in services.items():
        backend = _backend(service)
        backend.__dict__ = _copy_for(backend, made, state)
    return key


def _copy_for(backend: Any, made: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Copies a backend's state for another backend, and replaces references to the first by the other."""
    return copy.deepcopy(state, {id(made): backend})


def _backend(service: Any) -> Any:
    return get_backend(service)[ACCOUNT]["us-east-1"]


@cache
def _document() -> Document:
    return Document(openapi("https://manager.example", "1.2.3"))


def _check_webhooks(monkeypatch: pytest.MonkeyPatch, broken: list[str]) -> None:
    """Checks each notification that is encoded, for a webhook or for SNS; collects what is wrong."""

    def checked(body: dict[str, Any]) -> bytes:
        broken.extend(_document().notification_errors(body))
        return encoded(body)

    encoded = notification.encoded
    for module in (notification, trial):
        monkeypatch.setattr(module, "encoded", checked)


def _one_call_at_a_time(monkeypatch: pytest.MonkeyPatch, broken: list[str]) -> None:
    """Serializes all calls. The stand-in of DynamoDB and moto are not thread-safe.

    Checks each event that is published; collects what is wrong.
    """
    calling = threading.RLock()
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call_alone(client: BaseClient, operation_name: str, api_params: Any) -> Any:
        if operation_name == "Publish" and api_params.get("TopicArn") == os.environ["EVENTS_TOPIC_ARN"]:
            broken.extend(_document().event_errors(json.loads(api_params["Message"])))
        with calling:
            return call(client, operation_name, api_params)

    monkeypatch.setattr(BaseClient, "_make_api_call", call_alone)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that code would have slept between its tries. It does not sleep."""
    found: list[float] = []
    monkeypatch.setattr("jobmanager.core.retry.time.sleep", found.append)
    return found


@pytest.fixture
def target() -> Iterator[Target]:
    server = Target()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Puts a stand-in for Step Functions in place of the manager's client."""
    stand_in = Machines()
    for module in ("machine", "task_signal"):
        monkeypatch.setattr(f"jobmanager.executions.{module}.step_functions", lambda: stand_in)
    return stand_in
