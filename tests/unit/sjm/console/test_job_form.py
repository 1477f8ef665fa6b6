"""A job as the fields of a form, and what is said of fields that cannot be read."""

from typing import Any

import pytest

from sjm.client import types
from sjm.console import job_form
from sjm.console.attempts import WIDTH, attempts_of
from sjm.console.forms import Form
from sjm.console.pages.bulk_rerun import chosen_of
from sjm.console.pages.schedules import done_in_words


def read(**fields: str) -> tuple[dict[str, str], dict[str, Any]]:
    values, body = job_form.read(Form([("schedule", "rate(1 hour)"), *fields.items()]))
    return values.errors, dict(body)


def test_the_form_has_every_field_of_a_job() -> None:
    """A field that the form did not know would be reset whenever somebody saves it."""
    assert {*job_form.KEPT_FIELDS, "test_invocation", "exclusive"} == types.Job.__annotations__.keys()
    assert job_form.unknown_fields(dict.fromkeys(types.SavedJob.__annotations__)) == []
    assert job_form.unknown_fields({"schedule": "", "colour": "red"}) == ["colour"]


@pytest.mark.parametrize("text", ["1_000", "1e3", "٣", "0x10", "1.5", "NaN", "9" * 16, "soon", "--1"])
def test_what_is_no_whole_number_stays_and_is_said(text: str) -> None:
    errors, body = read(ttl_seconds=text)
    assert errors == {"/ttl_seconds": "expected a whole number"}
    assert "ttl_seconds" not in body


@pytest.mark.parametrize(("text", "number"), [("60", 60), (" 60 ", 60), ("-1", -1), ("007", 7)])
def test_a_whole_number_is_sent_to_the_api_which_judges_it(text: str, number: int) -> None:
    errors, body = read(ttl_seconds=text)
    assert (errors, body["ttl_seconds"]) == ({}, number)


def test_what_only_webhooks_have_is_sent_for_webhooks_only() -> None:
    http = read(invocation_type="http", test_invocation="yes")[1]
    sns = read(invocation_type="sns", test_invocation="yes")[1]
    assert (http["async"], http["test_invocation"]) == (False, True)
    assert not {"async", "test_invocation"} & sns.keys()


@pytest.mark.parametrize(
    ("job", "shown", "sent"),
    [
        ({"exclusive": False, "overlap": "allow"}, "allow", None),
        ({"exclusive": True, "overlap": "skip"}, "skip", "skip"),
        ({"exclusive": True, "overlap": "queue_all"}, "queue_all", "queue_all"),
        ({"exclusive": True}, "skip", "skip"),
        ({"exclusive": False}, "allow", None),
    ],
)
def test_a_job_is_sent_with_its_overlap_unless_that_is_the_default(job: Any, shown: str, sent: Any) -> None:
    assert job_form.values_of(job).text("overlap") == shown
    _, body = read(overlap=shown)
    assert (body.get("overlap"), "exclusive" in body) == (sent, False)
    assert job_form.kept(job).get("overlap") == sent


def test_retries_need_a_number_of_attempts() -> None:
    errors, body = read(**{"retry.interval_seconds": "5"})
    assert (list(errors), "retry" in body) == (["/retry/max_attempts"], False)
    errors, _ = read(**{"retry.max_attempts": "3"})
    assert errors == {"/retry/on": "choose after which ends to try again"}
    errors, body = read(**{"retry.max_attempts": "3", "retry.backoff_rate": "1.5", "retry.on": "timeout"})
    assert (errors, body["retry"]) == ({}, {"max_attempts": 3, "backoff_rate": 1.5, "on": ["timeout"]})


def test_tags_have_names_and_each_only_once() -> None:
    def tags(*pairs: tuple[str, str]) -> dict[str, str]:
        fields = [("schedule", "rate(1 hour)")]
        for name, value in pairs:
            fields += [("tag_name", name), ("tag_value", value)]
        return job_form.read(Form(fields))[0].errors

    assert tags(("a", "1"), ("", ""), ("b", "")) == {}
    assert tags(("", "1")) == {"/tags": "a value has no name"}
    assert tags(("a", "1"), ("a", "2")) == {"/tags": "two tags have the same name"}


def test_only_what_others_changed_and_one_has_not_is_a_difference() -> None:
    before = {"owner": "ann", "ttl_seconds": 60, "description": "x", "overlap": "skip"}
    theirs = {"owner": "bob", "ttl_seconds": 90, "description": "y", "overlap": "skip"}
    mine = {"owner": "carla", "ttl_seconds": 60, "description": "y", "overlap": "queue_one"}
    found = job_form.differences(before, theirs, mine)
    assert [(each.name, each.is_mine) for each in found] == [("owner", True), ("ttl_seconds", False)]


def test_attempts_are_drawn_within_the_width_whatever_their_times() -> None:
    def run(*times: tuple[int | None, int | None]) -> Any:
        attempts = [
            {
                "attempt": number,
                "status": "fail",
                **({"service_invoked_at_ms": began} if began is not None else {}),
                **({"finished_at_ms": ended} if ended is not None else {}),
            }
            for number, (began, ended) in enumerate(times, start=1)
        ]
        return {"status": "running", "started_at_ms": 0, "attempts": attempts}

    for case in (
        run((0, 10), (20, None)),
        run((0, 0)),
        run((None, None)),
        run((50, 10), (0, 5)),
        run((1_000, None)),
    ):
        for bar in attempts_of(case, 500):
            assert bar.x is None or (bar.x >= 0 and bar.x + bar.width <= WIDTH + 0.2)
    assert attempts_of({"status": "skipped"}, 500) == []  # type: ignore[typeddict-item]


def test_only_what_can_be_a_run_is_chosen() -> None:
    odd = ["", "a/b", "a/b/c/d", "../b/c", "a/b/<c>", "a/b/" + "c" * 200, "a b/c/d"]
    assert chosen_of(Form([("run", each) for each in odd])) == []
    assert [each.value for each in chosen_of(Form([("run", "a/b/c"), ("run", "a/b/c")]))] == ["a/b/c"]


def test_what_the_reconciler_did_is_told_in_words() -> None:
    repaired: Any = {"schedule": "rate(1 hour)", "rule": "r", "found": "missing", "done": "put"}
    missed: Any = {"schedule": "rate(1 day)", "first_missed": "", "last_missed": "", "count": 2}
    told = done_in_words(
        {"checked": 1, "changed": [repaired] * 7, "missed": [missed], "completed": 3, "complete": False}
    )
    assert told.startswith("1 rule checked. Repaired: rate(1 hour) was missing;")
    assert "and 2 more" in told
    assert (
        "Missed: 2 ticks of rate(1 day). Completed: 3 jobs. Not everything was checked: reconcile again."
        in told
    )
