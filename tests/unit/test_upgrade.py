"""What `make upgrade` refuses to apply. The upgrade itself takes minutes and is no part of `make test`."""

from typing import Any

import pytest

from tests.upgrade import versions
from tests.upgrade.versions import BEFORE, CannotUpgrade, lost_by

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
