"""What `make upgrade` refuses to apply, and what it finds wrong.

The upgrade itself takes minutes and is no part of `make test`.
"""

from typing import Any

import pytest

from tests.upgrade import versions
from tests.upgrade.versions import BEFORE, CannotUpgrade, lost_by
from tests.upgrade.waiting import missing_starts, not_one_by_one, wrong_starts

type Json = dict[str, Any]
BY_DAY = {
    "name": "by_day",
    "hash_key": "day",
    "range_key": "at",
    "projection_type": "ALL",
    "non_key_attributes": [],
}


def change(kind: str, *actions: str, before: Json | None = None, after: Json | None = None) -> Json:
    changed = {"actions": list(actions), "before": before, "after": after}
    return {"address": f"module.stage.{kind}.it", "type": kind, "change": changed}


def table(*indexes: Json) -> Json:
    return {"global_secondary_index": list(indexes)}


def function(*settings: str) -> Json:
    return {"environment": [{"variables": dict.fromkeys(settings, "x")}]}


@pytest.mark.parametrize(
    "kind", ["aws_dynamodb_table", "aws_lambda_function", "aws_sns_topic", "terraform_data"]
)
@pytest.mark.parametrize("actions", [["delete"], ["delete", "create"], ["create", "delete"]])
def test_what_must_be_kept_is_neither_deleted_nor_replaced(kind: str, actions: list[str]) -> None:
    (lost,) = lost_by([change(kind, *actions)])
    assert kind in lost


def test_an_alarm_may_go_and_anything_may_come() -> None:
    assert (
        lost_by([change("aws_cloudwatch_metric_alarm", "delete"), change("aws_dynamodb_table", "create")])
        == []
    )


def test_an_index_may_come_but_not_go_or_change() -> None:
    more = {**BY_DAY, "name": "by_hour"}
    other = {**BY_DAY, "projection_type": "INCLUDE", "non_key_attributes": ["status"]}
    updates = [table(BY_DAY, more), table(), table(other)]
    lost = [
        lost_by([change("aws_dynamodb_table", "update", before=table(BY_DAY), after=each)])
        for each in updates
    ]
    assert [len(each) for each in lost] == [0, 1, 1]


def test_an_index_without_a_range_key_is_the_same_in_the_state_and_in_the_plan() -> None:
    before, after = ({**BY_DAY, "range_key": empty} for empty in ("", None))
    assert lost_by([change("aws_dynamodb_table", "update", before=table(before), after=table(after))]) == []


def test_a_function_keeps_the_settings_that_its_old_code_reads() -> None:
    before, after = function("STAGE", "OLD"), function("STAGE", "NEW")
    (lost,) = lost_by([change("aws_lambda_function", "update", before=before, after=after)])
    assert "the setting OLD" in lost


def test_settings_that_are_known_only_after_the_apply_are_not_judged() -> None:
    change_of_settings = change(
        "aws_lambda_function", "update", before=function("OLD"), after={"environment": [{}]}
    )
    assert lost_by([change_of_settings]) == []


def test_a_clone_without_the_version_before_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "BEFORE", "0" * 40)
    with pytest.raises(CannotUpgrade, match="git fetch --unshallow"):
        versions.export()


def test_the_version_before_is_a_whole_hash() -> None:
    assert len(BEFORE) == 40
    assert int(BEFORE, 16)


def execution(name: str, job_name: str, ended_ms: int, **more: Any) -> Json:
    invoked_ms = ended_ms - 10
    named = {"execution_id": name, "job_name": job_name, "service_invoked_at_ms": invoked_ms}
    return named | {"finished_at_ms": ended_ms, "status": "success", **more}


def test_one_that_begins_before_the_one_has_ended_for_which_it_waits_is_found() -> None:
    line = [execution(str(token), "a", 100 * token, fencing_token=token) for token in (1, 2, 3)]
    assert not_one_by_one(line) == []
    line[1]["finished_at_ms"] = 295
    assert not_one_by_one(line) == ["3 began before 2 had ended"]
    line[1] |= {"finished_at_ms": 200, "fencing_token": 1}
    assert not_one_by_one(line) == ["2 began before 1, by its fencing_token"]


def start(*parents: Json) -> Json:
    named = [{"job": each["job_name"], "execution_id": each["execution_id"]} for each in parents]
    return {"execution_id": "start", "parents": named}


A1, A2, B1, B2 = (
    execution(*each) for each in (("a1", "a", 1), ("a2", "a", 4), ("b1", "b", 3), ("b2", "b", 2))
)


@pytest.mark.parametrize(
    ("starts", "missing"), [([], ["a1", "a2"]), ([start(A1)], ["a2"]), ([start(A1), start(A2)], [])]
)
def test_each_end_of_one_parent_has_to_be_followed(starts: list[Json], missing: list[str]) -> None:
    assert missing_starts(starts, [A1, A2], {"a": "success"}, 0) == missing
    assert missing_starts(starts, [A1, A2], {"a": "timeout"}, 0) == []
    assert missing_starts(starts, [A1], {"a": "success"}, since_ms=1) == []


@pytest.mark.parametrize(
    ("starts", "missing"),
    [([], ["a2", "b1"]), ([start(A1, B2)], ["a2", "b1"]), ([start(A1, B1)], []), ([start(A2, B2)], [])],
)
def test_the_last_ends_of_two_parents_are_not_left_over(starts: list[Json], missing: list[str]) -> None:
    parents = {"a": "success", "b": "success"}
    assert missing_starts(starts, [A1, A2, B1, B2], parents, 0) == missing
    assert missing_starts(starts, [A1, A2], parents, 0) == []


def test_a_start_after_a_wrong_end_or_after_one_that_was_used_is_found() -> None:
    parents = {"a": "success"}
    assert wrong_starts([start(A1), start(A2)], [A1, A2], parents) == []
    assert wrong_starts([start(A1), start(A1)], [A1, A2], parents) == ["a1 was followed more than once"]
    failed = A1 | {"status": "fail"}
    assert wrong_starts([start(A1)], [failed], parents) == ["start began after a1, which is fail"]
    (wrong,) = wrong_starts([start(A1, B1)], [A1], parents)
    assert wrong.startswith("start began after [{")
