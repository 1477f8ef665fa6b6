"""Each log line is a JSON object that names its job and execution. Each error is logged once, on one line."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from jobmanager.api.http import answer, api_handler
from jobmanager.core.errors import AwsCallFailed, NotificationUndelivered
from jobmanager.core.mappings import picked
from jobmanager.runtime.function_metrics import Environment
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step
from tests.unit.functions.examples import api_event, due, lambda_context


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Returns the logged lines as objects."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    monkeypatch.setattr("jobmanager.runtime.step._environment", Environment())
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def says_hello(event: dict[str, Any], context: Any) -> None:
    logger.info("hello")


def answers(event: dict[str, Any], context: Any) -> dict[str, Any]:
    logger.info("hello")
    return answer(204)


def test_a_log_line_names_its_job_execution_trace_and_request(
    lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=5;Sampled=1")
    handler = step(says_hello)
    handler({**due()}, lambda_context())
    handler({"execution": due()}, lambda_context())
    first, second = lines()
    facts = ("service_name", "job_name", "execution_id")
    assert (
        [first[name] for name in facts]
        == [second[name] for name in facts]
        == list(picked(due(), facts).values())
    )
    assert first["message"] == "hello"
    assert first["xray_trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert first["function_request_id"] == first["correlation_id"] == "request-1"
    assert (first["cold_start"], second["cold_start"]) == (True, False)


def test_a_log_line_has_the_request_id_of_the_access_log(lines: Any) -> None:
    event = api_event(service_name="billing", job_name="nightly")
    event["requestContext"]["requestId"] = "gateway-7"
    step(api_handler(answers))(event, lambda_context())
    (line,) = lines()
    assert (line["correlation_id"], line["function_request_id"]) == ("gateway-7", "request-1")
    assert (line["service_name"], line["job_name"]) == ("billing", "nightly")


def test_a_log_line_has_no_facts_of_the_previous_invocation(lines: Any) -> None:
    handler = step(says_hello)
    handler({**due()}, lambda_context())
    handler({}, lambda_context())
    _, second = lines()
    assert not {"service_name", "job_name", "execution_id", "schedule"} & second.keys()


def test_an_expected_error_is_one_line_without_a_stack_trace(lines: Any) -> None:
    def handler(event: dict[str, Any], context: Any) -> None:
        raise NotificationUndelivered("the target answered HTTP 503")

    with pytest.raises(NotificationUndelivered):
        step(handler)({**due()}, lambda_context())
    (line,) = lines()
    assert (line["level"], line["message"], line["error"]) == (
        "WARNING",
        "notification undelivered",
        "NotificationUndelivered",
    )
    assert line["cause"] == "the target answered HTTP 503"
    assert line["execution_id"] == due()["execution_id"]
    assert "exception" not in line


def test_an_unexpected_error_is_one_line_with_a_stack_trace(lines: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        step(lambda event, context: 1 / 0)(due(), lambda_context())
    (line,) = lines()
    assert "ZeroDivisionError" in line["exception"]


def test_a_failing_function_also_writes_its_metrics(
    lines: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_BY_FUNCTION", "true")
    with pytest.raises(AwsCallFailed):
        step(_throttled)({}, lambda_context())
    (metrics,) = (json.loads(text) for text in capsys.readouterr().out.splitlines() if "_aws" in text)
    assert (metrics["ColdStarts"], metrics["function"], metrics["stage"]) == ([1], "test", "test")


def _throttled(event: dict[str, Any], context: Any) -> None:
    from botocore.exceptions import ClientError

    raise ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")
