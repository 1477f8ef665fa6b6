"""A limit is created, replaced and deleted; what executions write to it meanwhile stays."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from jobmanager.api.preconditions import Expected
from jobmanager.aws import tables
from jobmanager.core.errors import Conflict, Contended, NotFound, PreconditionFailed
from jobmanager.jobs import changes as job_changes
from jobmanager.jobs.limit_deletion import delete_limit
from jobmanager.limits import changes, store
from jobmanager.limits.definition import Limit, LimitDefinition
from tests.unit.functions.examples import NOON_MS, save_job

pytestmark = pytest.mark.usefixtures("cloud")


def save(expected: Expected | None = None, updated_by: str = "ann", **fields: Any) -> tuple[Limit, bool]:
    defined = cast(LimitDefinition, fields)
    return changes.save("billing", "db-main", defined, updated_by, NOON_MS, expected)


def limit() -> Limit:
    return store.read("billing", "db-main")


def write(**attributes: Any) -> None:
    """Writes attributes as executions do."""
    sets = ", ".join(f"{name} = :{name}" for name in attributes)
    values = {f":{name}": value for name, value in attributes.items()}
    written = tables.update_if(
        "limits",
        store.key("billing", "db-main"),
        f"SET {sets}",
        "slots <> :no OR per_second <> :no",
        values | {":no": 0},
    )
    assert written is not None


def hold(*execution_ids: str) -> None:
    for execution_id in execution_ids:
        assert tables.transact([store.take_change(limit(), execution_id, waited=False)])


def wait() -> None:
    assert tables.transact([store.wait_change(limit())])


def test_a_limit_is_created_and_replaced_and_its_version_rises() -> None:
    created, was_created = save(slots=3, description="the main database")
    replaced, was_created_again = save(slots=5, per_second=10, updated_by="bob")

    assert (was_created, was_created_again) == (True, False)
    assert created == {
        "service_name": "billing",
        "limit_name": "db-main",
        "slots": 3,
        "description": "the main database",
        "version": 1,
        "created_at": "2026-11-23T12:00:00Z",
        "updated_at": "2026-11-23T12:00:00Z",
        "updated_by": "ann",
    }
    assert replaced == limit()
    assert (replaced["version"], replaced["updated_by"]) == (2, "bob")
    assert (replaced["slots"], replaced["per_second"], "description" in replaced) == (5, 10, False)


def test_the_same_definition_again_changes_nothing() -> None:
    save(slots=3)
    again, created = save(slots=3, updated_by="bob")

    assert (again["version"], again["updated_by"], created) == (1, "ann", False)


def test_a_change_keeps_what_executions_have_written() -> None:
    save(slots=2)
    hold("a", "b")
    wait()
    write(next_start_ms=NOON_MS)
    save(per_second=5)

    kept = limit()
    assert (kept.get("holders"), kept.get("waiting_count")) == ({"a", "b"}, 1)
    assert (kept.get("next_start_ms"), "slots" in kept) == (NOON_MS, False)


@pytest.mark.parametrize(
    ("fields", "is_asked"),
    [
        ({"slots": 3}, True),
        ({"per_second": 5}, True),
        ({"slots": 2, "per_second": 5}, False),
        ({"slots": 1}, False),
    ],
)
def test_those_that_wait_are_started_if_a_change_leaves_a_slot_free(
    fields: dict[str, Any], is_asked: bool, asked: list[dict[str, str]]
) -> None:
    save(slots=2)
    hold("a", "b")
    save(**fields)
    assert asked == []
    save(slots=2)
    wait()
    save(**fields)

    expected = {"service_name": "billing", "limit_name": "db-main"}
    assert asked == ([expected] if is_asked else [])
    save(**fields)
    assert asked == ([expected] * 2 if is_asked else []), "a repeated request"


@pytest.mark.parametrize(
    ("expected", "applies"),
    [
        ({"if_match": [2]}, True),
        ({"if_match": "*"}, True),
        ({"if_match": [1, 3]}, False),
        ({"if_match": []}, False),
        ({"if_none_match": "*"}, False),
    ],
)
def test_a_change_applies_only_to_the_version_that_its_caller_saw(expected: Expected, applies: bool) -> None:
    save(slots=1)
    save(slots=2)
    if applies:
        assert save(expected, slots=3)[0]["version"] == 3
        return
    with pytest.raises(PreconditionFailed, match="billing/db-main"):
        save(expected, slots=3)
    with pytest.raises(PreconditionFailed, match="billing/db-main"):
        delete_limit("billing", "db-main", expected)
    assert limit()["version"] == 2


def test_a_change_of_a_limit_that_does_not_exist_creates_it_only_without_if_match() -> None:
    with pytest.raises(PreconditionFailed, match="There is no limit billing/db-main"):
        save({"if_match": [1]}, slots=1)
    assert save({"if_none_match": "*"}, slots=1)[1]


def test_a_caller_whose_answer_was_lost_may_repeat_its_if_match() -> None:
    save(slots=1)
    save({"if_match": [1]}, slots=2)

    assert save({"if_match": [1]}, slots=2)[0]["version"] == 2
    for repeated in ({"updated_by": "bob", "slots": 2}, {"slots": 3}):
        with pytest.raises(PreconditionFailed):
            save({"if_match": [1]}, **cast(dict[str, Any], repeated))


def lose_the_first_answer(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Lets the first such call be done, and then again, as the SDK does if it gets no answer."""
    calls = itertools.count()
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def twice(client: BaseClient, operation_name: str, api_params: Any) -> Any:
        if operation_name == operation and next(calls) == 0:
            call(client, operation_name, api_params)
        return call(client, operation_name, api_params)

    monkeypatch.setattr(BaseClient, "_make_api_call", twice)


@pytest.mark.parametrize("expected", [{}, {"if_none_match": "*"}])
def test_a_creation_that_the_sdk_repeats_is_done_once(
    monkeypatch: pytest.MonkeyPatch, expected: Expected
) -> None:
    lose_the_first_answer(monkeypatch, "UpdateItem")
    created, was_created = save(expected, slots=3)

    assert (created["version"], was_created) == (1, True)


def test_a_deletion_that_the_sdk_repeats_is_done_once(
    monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, str]]
) -> None:
    save(slots=1)
    hold("a")
    wait()
    lose_the_first_answer(monkeypatch, "DeleteItem")
    delete_limit("billing", "db-main")

    assert store.find("billing", "db-main") is None
    assert len(asked) == 1


def test_concurrent_changes_are_applied_one_after_the_other() -> None:
    with ThreadPoolExecutor(6) as pool:
        saved = list(pool.map(lambda slots: save(slots=slots)[0]["version"], range(1, 7)))

    assert sorted(saved) == [1, 2, 3, 4, 5, 6]


def test_a_change_that_others_keep_winning_asks_for_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobmanager.core.retry.time.sleep", lambda seconds: None)
    save(slots=1)
    monkeypatch.setattr(store, "replace", lambda old, new: None)
    monkeypatch.setattr(store, "delete", lambda old: False)

    with pytest.raises(Contended):
        save(slots=2)
    with pytest.raises(Contended):
        delete_limit("billing", "db-main")


def test_a_service_has_at_most_100_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_LIMITS", 2)
    for name in ("a", "b"):
        changes.save("billing", name, {"slots": 1}, "ann", NOON_MS)
    with pytest.raises(Conflict, match="billing has 2 limits, and may have no more"):
        save(slots=1)
    changes.save("billing", "a", {"slots": 2}, "ann", NOON_MS)
    changes.save("ledger", "a", {"slots": 2}, "ann", NOON_MS)
    delete_limit("billing", "a")
    save(slots=1)


def test_a_limit_that_jobs_name_is_not_deleted() -> None:
    save(slots=1)
    for number in range(3):
        save_job(f"job-{number}", limit="db-main", payload="x" * 5000)
    save_job("another", limit="other")
    save_job("job-0", "ledger", limit="db-main")

    with pytest.raises(Conflict, match="is the limit of job-0, job-1, job-2\\. PUT these jobs"):
        delete_limit("billing", "db-main")
    save_job("job-0")
    job_changes.delete("billing", "job-1", "ann", NOON_MS)
    with pytest.raises(Conflict, match="is the limit of job-2\\. "):
        delete_limit("billing", "db-main")
    job_changes.delete("billing", "job-2", "ann", NOON_MS)
    delete_limit("billing", "db-main")

    assert store.find("billing", "db-main") is None


def test_at_most_ten_names_of_jobs_are_shown() -> None:
    save(slots=1)
    for number in range(12):
        save_job(f"job-{number:02}", limit="db-main")

    with pytest.raises(Conflict, match="job-08, job-09 and others\\."):
        delete_limit("billing", "db-main")


def test_those_that_wait_are_started_if_their_limit_is_deleted(asked: list[dict[str, str]]) -> None:
    save(slots=1)
    hold("a")
    wait()
    delete_limit("billing", "db-main")
    assert asked == [{"service_name": "billing", "limit_name": "db-main"}]


def test_those_that_wait_are_started_although_the_limit_was_made_again_since(
    asked: list[dict[str, str]],
) -> None:
    save(slots=1)
    hold("a")
    wait()
    delete_limit("billing", "db-main")
    asked.clear()
    save(slots=1)
    assert "holders" not in limit()
    assert "waiting_count" not in limit()  # of those who waited before, it knows nothing
    delete_limit("billing", "db-main")

    assert asked == [{"service_name": "billing", "limit_name": "db-main"}]


def test_a_limit_that_does_not_exist_is_not_deleted() -> None:
    for name in ("db-main", "", "not a name", "x" * 3000):
        with pytest.raises(NotFound):
            delete_limit("billing", name)


def test_an_unexpected_failure_of_a_deletion_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    save(slots=1)
    monkeypatch.setenv("LIMITS_TABLE", "a-table-that-is-not-there")
    with pytest.raises(ClientError):
        store.delete({**limit_of_another_table(), "version": 1})


def limit_of_another_table() -> Limit:
    return {
        "service_name": "billing",
        "limit_name": "db-main",
        "slots": 1,
        "version": 1,
        "created_at": "2026-11-23T12:00:00Z",
        "updated_at": "2026-11-23T12:00:00Z",
        "updated_by": "ann",
    }
