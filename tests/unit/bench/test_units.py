from typing import Any

import pytest

from bench.figures import median_units, percentile
from bench.units import api_request_units, call_units, invocation_units, share_of_a_sweep
from local.segments import AwsCall, Invocation, Segment


def call(service: str, operation: str, seconds: float = 0.001, **parameters: Any) -> AwsCall:
    return AwsCall(service, operation, seconds, parameters)


@pytest.mark.parametrize(("percent", "expected"), [(50, 15), (95, 29), (100, 30), (1, 1)])
def test_a_percentile_is_a_value_by_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(30, 0, -1)), percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="expected values"):
        percentile(values, percent)


def test_a_unit_that_a_sample_lacks_counts_as_0_in_the_median() -> None:
    assert median_units([{"a": 1.0}, {"a": 3.0, "b": 1.0}, {"a": 2.0}]) == {"a": 2.0, "b": 0.0}


@pytest.mark.parametrize(
    ("made", "units"),
    [
        (call("dynamodb", "GetItem", consistent_read=True), {"dynamodb read": 1.0}),
        (call("dynamodb", "GetItem"), {"dynamodb read": 0.5}),
        (call("dynamodb", "Query", limit=51), {"dynamodb read": 1.5}),
        (call("dynamodb", "Query", limit=20), {"dynamodb read": 0.5}),
        (call("dynamodb", "BatchGetItem"), {"dynamodb read": 25.0}),
        (call("dynamodb", "UpdateItem"), {"dynamodb write": 1}),
        (call("dynamodb", "TransactWriteItems"), {"dynamodb write": 6}),
        (call("sns", "Publish"), {"sns publish": 1}),
        (call("kms", "Decrypt"), {"kms request": 1}),
        (call("events", "PutRule"), {}),
        (call("scheduler", "ListSchedules"), {}),
        (call("states", "SendTaskSuccess"), {}),
        (call("lambda", "Invoke"), {}),
    ],
)
def test_each_operation_is_billed_in_its_own_units(made: AwsCall, units: dict[str, float]) -> None:
    assert call_units(made, transaction_items=3, items=50) == units


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 1), (0.1, 1), (0.101, 2), (0.95, 10)])
def test_an_express_workflow_is_billed_by_100_ms_and_64_mb(seconds: float, steps: int) -> None:
    units = call_units(call("states", "StartSyncExecution", seconds))
    assert units == {"express request": 1, "express GB-second": pytest.approx(steps * 0.1 / 16)}


@pytest.mark.parametrize(("service", "operation"), [("sqs", "SendMessage"), ("dynamodb", "Scan")])
def test_a_call_without_a_price_is_refused(service: str, operation: str) -> None:
    with pytest.raises(ValueError, match=operation):
        call_units(call(service, operation))


def test_a_transaction_of_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="state transaction_items"):
        call_units(call("dynamodb", "TransactWriteItems"))


def test_an_invocation_is_billed_per_millisecond_together_with_its_calls() -> None:
    segment = Segment("1", None, "t", "f", "", 10.0, 10.0101)
    made = Invocation("f", segment, (call("sns", "Publish"), call("sns", "Publish")))
    units = invocation_units(made, 256)
    assert units["lambda GB-second"] == pytest.approx(0.25 * 0.011)
    assert (units["lambda request"], units["sns publish"]) == (1, 2)


def test_a_request_is_billed_together_with_all_its_invocations() -> None:
    segment = Segment("1", None, "t", "f", "", 0.0, 0.004)
    units = api_request_units([Invocation("f", segment, ())] * 3, {"f": 512}, 0, 0)
    assert (units["api request"], units["lambda request"]) == (1, 3)
    assert units["lambda GB-second"] == pytest.approx(3 * 0.5 * 0.004)
    assert units["log GB"] == pytest.approx(3300e-9)


def test_an_execution_pays_for_its_calls_in_a_sweep_but_not_for_the_sweep() -> None:
    calls = (
        call("dynamodb", "Query", 0.5, limit=100),
        call("dynamodb", "GetItem", 0.004, consistent_read=True),
        call("dynamodb", "UpdateItem", 0.006),
        call("states", "StartExecution", 0.01),
    )
    sweep = Invocation("f", Segment("1", None, "t", "f", "", 0.0, 1.0), calls)
    assert share_of_a_sweep(sweep, 256) == {
        "lambda GB-second": pytest.approx(0.25 * 0.02),
        "dynamodb read": 1.0,
        "dynamodb write": 1,
    }
