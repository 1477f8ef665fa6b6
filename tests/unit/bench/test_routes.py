import re
from typing import Any

import pytest

from bench.prices import PRICES, bills, dollars
from bench.route_cases import CASES, Call, Case, api_routes
from bench.routes import (
    CoverageMismatch,
    Result,
    Sample,
    check_coverage,
    csv_row,
    functions_of_executions,
    page_of,
)
from bench.units import api_request_units
from local.segments import AwsCall, Invocation, Segment
from tests.unit.terraform.blocks import routes

FUNCTION = "sjm-test-get-job"


def invocation(*calls: AwsCall, seconds: float = 0.0101) -> Invocation:
    return Invocation(FUNCTION, Segment("1", None, "t", FUNCTION, "", 0.0, seconds), calls)


def case(route: str, variant: str = "") -> Case:
    return Case(route, variant, lambda world, n: Call())


def test_the_routes_are_those_of_terraform() -> None:
    assert api_routes() == {route: function for route, (function, _) in routes().items()}


def test_every_route_of_the_api_has_a_case() -> None:
    check_coverage(api_routes(), CASES)


def test_a_route_without_a_case_is_named() -> None:
    with pytest.raises(CoverageMismatch, match=r"without a case .*GET /new"):
        check_coverage([*api_routes(), "GET /new"], CASES)


def test_a_case_of_a_removed_route_is_named() -> None:
    with pytest.raises(CoverageMismatch, match=r"not in terraform/api.tf: .*GET /gone"):
        check_coverage(api_routes(), [*CASES, case("GET /gone")])


def test_no_two_cases_share_route_and_variant() -> None:
    names = [(each.route, each.variant) for each in CASES]
    assert len(set(names)) == len(names)


def test_the_functions_that_run_an_execution_answer_no_route() -> None:
    assert functions_of_executions() == {"run_execution", "finish_execution"}
    assert not functions_of_executions() & set(api_routes().values())


def test_a_page_has_a_row_for_each_case_and_a_csv_row_has_its_price() -> None:
    made = [invocation(AwsCall("dynamodb", "GetItem", 0.002, {"consistent_read": True}))]
    units = api_request_units(made, {FUNCTION: 256}, 0, 0)
    samples = [Sample(seconds / 1000, made, units) for seconds in range(1, 31)]
    result = Result(case("GET /jobs", "first page"), samples)
    page = page_of([result], {FUNCTION: "get_job"})
    assert re.search(r"\| `GET /jobs` first page +\| +15 \| +29 \| get_job +\| dynamodb GetItem +\|", page), (
        page
    )
    row = csv_row(result)
    assert row["dollars per million"] == pytest.approx(dollars(units) * 1e6, abs=1e-4)
    assert (row["dynamodb read"], row["dynamodb write"]) == (1.0, 0.0)


def test_the_bills_add_up_to_the_price() -> None:
    units: dict[str, Any] = dict.fromkeys(PRICES, 3)
    assert sum(bills(units).values()) == pytest.approx(dollars(units))
    assert bills({"sns publish": 0}) == {}


def test_a_unit_without_a_price_is_refused() -> None:
    with pytest.raises(KeyError):
        dollars({"kinesis request": 1})


@pytest.mark.parametrize(
    ("unit", "count", "cost"),
    [
        ("api request", 1e6, 1.00),
        ("lambda request", 1e6, 0.20),
        ("transition", 4e6, 100.00),
        ("kms request", 1e6, 3.00),
    ],
)
def test_prices_match_aws_list_prices(unit: str, count: float, cost: float) -> None:
    assert dollars({unit: count}) == pytest.approx(cost)
