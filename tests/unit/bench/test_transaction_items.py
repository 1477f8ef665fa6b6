"""Compares the transaction sizes in bench/route_cases.py with the transactions that the code writes."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.route_cases import CASES
from jobmanager.aws.clients import dynamodb
from jobmanager.jobs import changes
from tests.unit.functions.conftest import cloud, environment, names  # noqa: F401
from tests.unit.functions.examples import NOON_MS, save_job

pytestmark = pytest.mark.usefixtures("cloud")


def delete() -> None:
    changes.delete("billing", "nightly", "tester", NOON_MS)


def pause() -> None:
    changes.pause("billing", "nightly", {"reason": "migration"}, "tester", NOON_MS)


def resume() -> None:
    changes.resume("billing", "nightly", "tester", NOON_MS)


@pytest.mark.parametrize(
    ("ending", "variant", "before", "change"),
    [
        ("{job_name}", "new, SNS", [], lambda: save_job(schedule="rate(5 minutes)")),
        ("{job_name}", "new, webhook tested", [], lambda: save_job(schedule="rate(5 minutes)")),
        ("{job_name}", "unchanged", [save_job], lambda: save_job(schedule="rate(5 minutes)")),
        ("{job_name}", "to another schedule", [save_job], lambda: save_job(schedule="rate(7 minutes)")),
        ("/pause", "", [save_job], pause),
        ("/resume", "", [save_job, pause], resume),
        ("DELETE", "", [save_job], delete),
    ],
)
def test_a_case_states_the_size_of_its_transaction(
    ending: str, variant: str, before: list[Callable[[], Any]], change: Callable[[], Any]
) -> None:
    for step in before:
        step()
    sizes: list[int] = []
    dynamodb().meta.events.register(
        "provide-client-params.dynamodb.TransactWriteItems",
        lambda params, **_: sizes.append(len(params["TransactItems"])),
    )
    change()
    method = "DELETE" if ending == "DELETE" else "POST" if ending.startswith("/") else "PUT"
    template = "{job_name}" if ending == "DELETE" else ending
    [case] = [
        each
        for each in CASES
        if each.route.startswith(f"{method} ") and each.route.endswith(template) and (each.variant == variant)
    ]
    assert sum(sizes) == case.transaction_items
