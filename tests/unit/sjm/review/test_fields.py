"""The fields of the review are those of the API."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobmanager.jobs.definition import DEFINITION_FIELDS, MAX_PAYLOAD_BYTES, OVERLAPS
from jobmanager.jobs.validation import definition, job_errors
from sjm.review import fields
from tests.unit.sjm.small_stage import TOPIC

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "functions/_shared/jobmanager/api/schemas/job.schema.json").read_text())
JOB: dict[str, Any] = {
    "schedule": "cron(0 2 * * ? *)",
    "invocation_type": "http",
    "invocation_target": "https://billing.example/jobs/nightly",
}

SNS: dict[str, Any] = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}


def pointers(job: dict[str, Any]) -> set[str]:
    return {pointer for pointer, _ in fields.errors_of(job)}


def test_the_fields_are_those_of_the_schema_in_its_order() -> None:
    retry = SCHEMA["properties"]["retry"]

    assert list(fields.FIELDS) == list(SCHEMA["properties"])
    assert list(fields.RETRY) == list(retry["properties"])
    assert set(fields.REQUIRED) == set(SCHEMA["required"])
    assert set(fields.SAVED) == set(DEFINITION_FIELDS)
    assert fields.MAX_PAYLOAD_BYTES == MAX_PAYLOAD_BYTES
    assert fields.OVERLAPS == OVERLAPS


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"async": False},
        {"async": False, "ttl_seconds": 20},
        {"invocation_type": "sns", "invocation_target": "arn:aws:sns:eu-central-1:123456789012:own"},
        {"retry": {"max_attempts": 2}},
        {"retry": {"max_attempts": 2, "on": ["timeout"], "backoff_rate": 1.5}},
        {"time_zone": "UTC"},
        {"time_zone": "Europe/Berlin", "end_at": "2027-01-01T00:00:00Z"},
        {"payload": "7", "enabled": False, "catch_up": "one", "tags": {"a": "b"}, "exclusive": True},
        {"overlap": "allow"},
        {"overlap": "skip"},
        {"overlap": "queue_one"},
        {"overlap": "cancel_running", "exclusive": True},
    ],
    ids=lambda more: "-".join(more) or "none",
)
def test_defaults_are_those_of_the_api(more: dict[str, Any]) -> None:
    job = {**JOB, **more, "workflow_type": "standard"}

    assert fields.with_defaults(job) == definition(job, TOPIC)


_EDGES: list[Any] = [
    None,
    True,
    False,
    "",
    "x",
    "http",
    "one",
    "express",
    0,
    1,
    5,
    10,
    2.5,
    -1,
    43_200,
    43_201,
]
_EDGES += [86_400, 86_401, 2_592_000, 2_592_001, [], ["fail"], ["fail", "fail"], {}, {"a": "b"}, {"a": 1}]
_EDGES += ["x" * 256, "x" * 257, "x" * 1024, "x" * 1025, "x" * 2048, "x" * 2049, {"": "x"}, {"n" * 129: "x"}]
_EDGES += ["allow", "queue_all"]
_EDGES += [{"n": "x" * 257}, {str(n): "x" for n in range(51)}, {"max_attempts": 1}, {"max_attempts": 11}]
_EDGES += [
    {"max_attempts": 2, "on": []},
    {"max_attempts": 2, "backoff_rate": 1.5},
    {"on": ["fail"]},
    100,
    101,
]


@pytest.mark.parametrize("name", fields.FIELDS)
def test_a_value_is_refused_exactly_if_the_schema_refuses_it(name: str) -> None:
    validator = Draft202012Validator(SCHEMA)
    differing = [
        value
        for value in _EDGES
        if bool(pointers({**JOB, name: value})) == validator.is_valid({**JOB, name: value})
    ]

    assert differing == []


def test_what_is_required_is_named() -> None:
    assert pointers({"invocation_type": "http"}) == {"/schedule", "/invocation_target"}
    assert pointers({**JOB, "retry": {}}) == {"/retry/max_attempts"}
    assert pointers({**JOB, "pay": 1, "retry": {"max_attempts": 1, "when": 1}}) == {"/pay", "/retry/when"}


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("overlap", fields.OVERLAPS)
def test_an_overlap_that_exclusive_contradicts_is_refused_as_the_api_does(
    overlap: str, exclusive: bool
) -> None:
    job = {**SNS, "overlap": overlap, "exclusive": exclusive}

    assert pointers(job) == {error["pointer"] for error in job_errors(job)}


def test_a_payload_is_counted_in_bytes() -> None:
    assert pointers({**JOB, "payload": "ä" * (MAX_PAYLOAD_BYTES // 2)}) == set()
    assert pointers({**JOB, "payload": "ä" * (MAX_PAYLOAD_BYTES // 2 + 1)}) == {"/payload"}
