"""A refusal is readable, and its size is bounded for every request."""

import json
from typing import Any

import pytest

from functions.list_jobs.handler import handler as list_jobs
from functions.receive_callback.handler import handler as receive_callback
from jobmanager.api.http import problem_document
from jobmanager.core.errors import BadRequest, refusal_of
from jobmanager.jobs.validation import job_errors, validate
from tests.unit.functions.examples import api_event, lambda_context

JOB = {"schedule": "rate(5 minutes)", "invocation_type": "sns"}


def test_many_unknown_fields_get_a_hundred_errors_and_the_number_of_the_others() -> None:
    body = json.dumps({f"field{number}": 1 for number in range(80_000)})
    answer = list_jobs(api_event("POST", body), lambda_context())
    problem = json.loads(answer["body"])

    assert answer["statusCode"] == 400
    assert (len(problem["errors"]), problem["more_errors"]) == (100, 79_900)
    assert len(answer["body"]) < 64 * 1024
    assert problem["detail"] == "80000 fields are unknown: leave them out"


@pytest.mark.parametrize(
    "body",
    [
        {**JOB, **{f"x{number}": 1 for number in range(9000)}},
        {**JOB, "x" * 100_000: 1},
        {**JOB, **{f"{number}\x01" * 200: 1 for number in range(200)}},
        {**JOB, "tags": {f"{number}": "v" for number in range(5000)}},
        {**JOB, "tags": {f"{number}" * 100: 1 for number in range(500)}},
        {**JOB, "schedule": "x" * 100_000},
        {**JOB, "invocation_type": ["x" * 100_000]},
    ],
)
def test_the_refusal_of_a_job_fits_into_the_state_of_its_machine(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFICATIONS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:notifications")
    with pytest.raises(BadRequest) as refused:
        validate({"service_name": "billing", "job_name": "nightly", "job": body})
    document = refused.value.document()
    assert len(json.dumps(document)) < 128 * 1024
    shown = problem_document(refusal_of(document))
    assert shown == problem_document(refused.value)
    assert len(shown["errors"]) + shown.get("more_errors", 0) == len(job_errors(body))


def test_a_pointer_that_is_cut_stays_a_pointer() -> None:
    (error,) = BadRequest("no", errors=[{"pointer": "/" + "~1" * 500, "detail": "d"}]).extra["errors"]
    assert error["pointer"].removesuffix("…").replace("~1", "") == "/"


@pytest.mark.usefixtures("cloud")
def test_one_wrong_field_is_one_field() -> None:
    answer = list_jobs(api_event("POST", '{"colour": 1}'), lambda_context())
    assert json.loads(answer["body"])["detail"] == "1 field is unknown: leave it out"
    with pytest.raises(BadRequest, match=r"^1 field is not as expected$"):
        validate(
            {"service_name": "billing", "job_name": "nightly", "job": {"schedule": 1, **JOB, "exclusive": 1}}
        )
    assert (
        receive_callback(api_event("POST", "{}", callback_token="x"), lambda_context())["statusCode"] == 403
    )
