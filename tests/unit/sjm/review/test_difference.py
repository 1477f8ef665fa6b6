"""What a job of a file changes of the saved one."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.jobs.validation import definition
from sjm.review.difference import MAX_LINES, FieldChange, difference
from tests.unit.sjm.review.test_fields import JOB
from tests.unit.sjm.small_stage import TOPIC


def saved(**more: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    job = {"workflow_type": "standard", **JOB, **more}
    return {**definition(job, TOPIC), "service_name": "billing", "job_name": "nightly", "version": 3}


def lines(wanted: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    return [line for change in difference(wanted, old) for line in change.lines()]


def test_the_same_job_changes_nothing_even_if_it_names_no_default() -> None:
    assert difference(JOB, saved()) == []
    assert difference({**JOB, "retry": {"max_attempts": 2}}, saved(retry={"max_attempts": 2})) == []


def test_changes_come_in_the_order_of_the_api_with_old_and_new() -> None:
    wanted = {"tags": {"team": "b"}, **JOB, "schedule": "rate(1 hour)", "ttl_seconds": 60}

    assert lines(wanted, saved(tags={"team": "a", "tier": "1"})) == [
        'schedule: "cron(0 2 * * ? *)" → "rate(1 hour)"',
        "ttl_seconds: 300 → 60",
        "tags/team: a → b",
        "tags/tier: 1 → none",
    ]


def test_a_field_that_the_file_does_not_name_goes_back_to_its_default_and_says_so() -> None:
    old = saved(exclusive=True, owner="ann", ttl_seconds=60, payload="7")

    assert lines(JOB, old) == [
        "payload: 7 → none (not in the file: back to its default)",
        "overlap: skip → allow (not in the file: back to its default)",
        "ttl_seconds: 60 → 300 (not in the file: back to its default)",
        "owner: ann → none (not in the file: back to its default)",
    ]


def test_exclusive_is_an_older_name_for_an_overlap() -> None:
    assert difference({**JOB, "exclusive": True}, saved(overlap="skip")) == []
    assert difference({**JOB, "overlap": "skip"}, saved(exclusive=True)) == []
    assert difference({**JOB, "overlap": "allow"}, saved(exclusive=False)) == []
    assert difference({**JOB, "exclusive": False}, saved()) == []
    shown = {**saved(overlap="queue_one"), "overlap": "queue_one"}
    assert difference({**JOB, "overlap": "queue_one"}, shown) == []
    assert lines({**JOB, "exclusive": True}, saved()) == ["overlap: allow → skip"]
    assert lines({**JOB, "exclusive": True}, shown) == ["overlap: queue_one → skip"]
    assert lines({**JOB, "overlap": "cancel_running"}, shown) == ["overlap: queue_one → cancel_running"]
    assert lines(JOB, shown) == ["overlap: queue_one → allow (not in the file: back to its default)"]


def test_a_job_as_the_api_shows_it_differs_in_nothing() -> None:
    for kind, exclusive in (("allow", False), ("skip", True), ("queue_all", True)):
        shown = {**saved(overlap=kind), "overlap": kind, "exclusive": exclusive}
        assert difference({**JOB, "overlap": kind}, shown) == []
        assert difference({**JOB, "overlap": kind, "exclusive": exclusive}, shown) == []


def test_defaults_of_the_stage_are_kept_because_only_the_stage_knows_them() -> None:
    sns = {"schedule": JOB["schedule"], "invocation_type": "sns"}

    assert difference(JOB, saved(workflow_type="express")) == []
    assert difference(sns, {**saved(), **sns, "invocation_target": TOPIC}) == []
    assert lines(sns, saved())[1] == (
        'invocation_target: https://billing.example/jobs/nightly → "the stage\'s topic"'
        " (not in the file: back to its default)"
    )


def test_a_new_job_shows_what_its_file_names() -> None:
    assert lines({**JOB, "test_invocation": False}, None) == [
        'schedule: none → "cron(0 2 * * ? *)"',
        "invocation_type: none → http",
        "invocation_target: none → https://billing.example/jobs/nightly",
    ]


def test_the_order_in_which_retries_are_named_does_not_matter() -> None:
    retry = {"max_attempts": 2, "on": ["fail", "timeout"]}

    assert difference({**JOB, "retry": {**retry, "on": ["timeout", "fail"]}}, saved(retry=retry)) == []
    assert lines({**JOB, "retry": {**retry, "max_attempts": 3}}, saved(retry=retry)) == [
        "retry/max_attempts: 2 → 3"
    ]


def test_payloads_that_are_objects_differ_by_name() -> None:
    old = json.dumps({"ledger": 7, "deep": {"a": [1], "b": True}, "text": "x" * 80})
    new = json.dumps({"ledger": 8, "deep": {"a": [1, 2], "b": 1}, "text": "x" * 80})

    assert lines({**JOB, "payload": new}, saved(payload=old)) == [
        "payload/ledger: 7 → 8",
        "payload/deep/a: [1] → [1, 2]",
        "payload/deep/b: true → 1",
    ]
    assert lines({**JOB, "payload": old.replace(", ", ",")}, saved(payload=old)) == [
        "payload: written in another way, with the same JSON"
    ]


def test_other_payloads_show_where_the_difference_begins() -> None:
    shown = lines({**JOB, "payload": "a" * 500 + "Y\n"}, saved(payload="a" * 500 + "X" * 9))

    assert shown[0] == "payload: 509 → 502 characters, from character 501 on"
    assert shown[1].endswith("XXXXXXXXX →") and shown[2].endswith("Y\\u000a")


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_a_difference_of_payloads_is_bounded_and_harmless(old: str, new: str) -> None:
    for payloads in ((old, new), (json.dumps({old: new, "x": old}), json.dumps({new: old, "x": new}))):
        shown = FieldChange("payload", *payloads).lines()

        assert len(shown) <= MAX_LINES
        assert all(line.isprintable() and len(line) < 300 for line in shown)


def test_many_differences_are_counted() -> None:
    old, new = ({f"n{number}": value for number in range(500)} for value in (1, 2))
    shown = FieldChange("payload", json.dumps(old), json.dumps(new)).lines()

    assert len(shown) == MAX_LINES
    assert shown[-1] == f"and {500 - MAX_LINES + 1} more"


def test_a_payload_of_deep_json_does_not_exhaust_the_stack() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000

    assert FieldChange("payload", deep, deep.replace("1", "2")).lines()
