"""A job may run after others. Who runs after whom is kept on both sides, and is never a circle."""

import json
from typing import Any

import pytest

from functions.get_job.handler import handler as get_job
from jobmanager.core.errors import BadRequest
from jobmanager.jobs import chains, changes, store
from jobmanager.jobs.definition import Job
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import definition, job_errors, validate
from tests.unit.functions.calls import operations
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job
from tests.unit.functions.published import Events, subscribe

pytestmark = pytest.mark.usefixtures("cloud")
BODY = {"invocation_type": "sns"}


def chained(job_name: str, *parents: str, at_ms: int = NOON_MS, **fields: Any) -> Job:
    body = {**BODY, "after": [{"job": parent} for parent in parents], **fields}
    return changes.save("billing", job_name, definition(body, "topic"), "tester", at_ms)[0]


def children(job_name: str) -> list[str]:
    found = store.find("billing", job_name)
    assert found is not None
    return found.get("children", [])


def refusal(job_name: str, *parents: str) -> dict[str, str]:
    with pytest.raises(BadRequest) as refused:
        chained(job_name, *parents)
    (error,) = refused.value.extra["errors"]
    return dict(error)


def errors(**fields: Any) -> dict[str, str]:
    return {error["pointer"]: error["detail"] for error in job_errors({**BODY, **fields})}


def test_one_job_is_stored_as_a_list_with_its_default() -> None:
    save_job("first")
    job = chained("second", "first")
    assert job["after"] == [{"job": "first", "on": ["success"]}]
    assert definition({**BODY, "after": {"job": "first", "on": ["timeout", "fail"]}}, "topic")["after"] == [
        {"job": "first", "on": ["fail", "timeout"]}
    ]
    assert not {"schedule", "active_schedule", "time_zone", "catch_up"} & job.keys()
    assert children("first") == ["second"]


def test_a_job_needs_either_a_schedule_or_after() -> None:
    assert errors() == {"/schedule": "this field is required, unless the job has after"}
    both = errors(schedule="rate(1 hour)", after={"job": "first"})
    assert both == {"/after": "expected either schedule or after, not both"}


@pytest.mark.parametrize(
    ("after", "pointer"),
    [
        ([], "/after"),
        ("first", "/after"),
        ({}, "/after/job"),
        ({"job": "a b"}, "/after/job"),
        ([{"job": "first", "on": ["skipped"]}], "/after/0/on/0"),
        ([{"job": "first", "on": []}], "/after/0/on"),
        ([{"job": "first"}, {"job": "first"}], "/after/1/job"),
        ([{"job": f"job-{number}"} for number in range(11)], "/after"),
        ([{"job": "first", "when": "now"}], "/after/0/when"),
    ],
)
def test_an_error_in_after_names_its_place(after: Any, pointer: str) -> None:
    assert list(errors(after=after)) == [pointer]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_zone", "UTC"),
        ("start_at", "2027-01-01T00:00:00Z"),
        ("end_at", "2027-01-01T00:00:00Z"),
        ("catch_up", "one"),
        ("catch_up_window_seconds", 60),
        ("spread_seconds", 60),
    ],
)
def test_a_field_of_a_schedule_is_refused(name: str, value: Any) -> None:
    assert "only a schedule has it" in errors(after={"job": "first"}, **{name: value})[f"/{name}"]


def test_a_job_cannot_run_after_itself() -> None:
    change = {"service_name": "billing", "job_name": "me", "job": {**BODY, "after": [{"job": "me"}]}}
    with pytest.raises(BadRequest) as refused:
        validate(change)
    (error,) = refused.value.extra["errors"]
    assert error["pointer"] == "/after/0/job"


def test_no_trigger_is_put_for_a_chained_job() -> None:
    save_job("first")
    change = {"service_name": "billing", "job_name": "second", "updated_by": "tester"}
    valid = validate({**change, "job": {**BODY, "after": {"job": "first"}}})
    assert "schedule_key" not in valid
    assert save_change(valid, NOON_MS) == {"created": True, "version": 1, "schedules": [], "warnings": []}


def test_a_parent_must_exist() -> None:
    assert refusal("second", "first") == {
        "pointer": "/after/0/job",
        "detail": "expected a job of billing, but there is no first: PUT it first",
    }
    save_job("first")
    save_job("gone")
    changes.delete("billing", "gone", "tester", NOON_MS)
    assert refusal("second", "first", "gone")["pointer"] == "/after/1/job"


def test_a_circle_is_refused_and_shows_itself() -> None:
    save_job("a")
    chained("b", "a")
    chained("c", "b")
    assert refusal("a", "c") == {
        "pointer": "/after/0/job",
        "detail": "expected no circle, but it is one: a after c after b after a",
    }


def test_two_changes_at_once_close_no_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them alone is none: the one that is slower reads the other's."""
    for name in ("a", "b", "c"):
        save_job(name)
    chained("b", "a")
    links, is_first = chains.link_changes, [True]

    def slow(old: Job | None, new: Job) -> Any:
        found = links(old, new)
        if is_first.pop() if is_first else False:
            chained("a", "c")
        return found

    monkeypatch.setattr(chains, "link_changes", slow)
    assert "a circle" not in str(chained("d", "b"))
    monkeypatch.setattr(chains, "link_changes", links)
    is_first.append(True)
    changes.save("billing", "a", definition({**BODY, "schedule": "rate(1 hour)"}, "topic"), "tester", NOON_MS)
    monkeypatch.setattr(chains, "link_changes", slow)
    assert "c after b after a after c" in refusal("c", "b")["detail"]


def test_a_chain_has_twenty_jobs_at_most() -> None:
    save_job("job-1")
    for number in range(2, 21):
        chained(f"job-{number}", f"job-{number - 1}")
    assert refusal("job-21", "job-20")["detail"] == "expected at most 20 jobs in a line of the chain, not 21"
    save_job("before")
    assert "not 21" in refusal("job-1", "before")["detail"]


def test_a_job_that_gets_other_parents_leaves_the_former_ones() -> None:
    for name in ("a", "b", "c"):
        save_job(name)
    chained("d", "a", "b")
    chained("d", "b", "c")
    assert [children(name) for name in ("a", "b", "c")] == [[], ["d"], ["d"]]
    save_job("d")
    assert [children(name) for name in ("a", "b", "c")] == [[], [], []]
    assert store.read("billing", "d")["active_schedule"] == "rate(5 minutes)"


def test_a_deleted_child_leaves_its_parent() -> None:
    save_job("first")
    chained("second", "first")
    changes.delete("billing", "second", "tester", NOON_MS)
    assert children("first") == []
    chained("second", "first")
    assert children("first") == ["second"]


def test_a_change_of_a_parent_keeps_its_children_and_their_links_keep_its_version() -> None:
    version = save_job("first")["version"]
    chained("second", "first")
    assert store.read("billing", "first")["version"] == version
    save_job("first", ttl_seconds=60)
    assert children("first") == ["second"]


@pytest.fixture
def told() -> Events:
    """Returns the events that were published since."""
    return subscribe()


def test_the_owners_of_its_children_hear_that_a_job_was_deleted(told: Events) -> None:
    save_job("first")
    chained("second", "first", owner="team-a")
    chained("third", "first")
    told()
    changes.delete("billing", "third", "tester", NOON_MS)
    changes.delete("billing", "first", "tester", NOON_MS)
    (orphaned,) = [event for event in told() if event["event"] == "job.orphaned"]
    assert {name: orphaned[name] for name in ("job_name", "owner", "parent", "updated_by")} == {
        "job_name": "second",
        "owner": "team-a",
        "parent": "first",
        "updated_by": "tester",
    }
    assert "untold_events" not in (store.find("billing", "first") or {})


def view(job_name: str) -> dict[str, Any]:
    answer = get_job(api_event(service_name="billing", job_name=job_name), lambda_context())
    return dict(json.loads(answer["body"]))


def test_a_job_shows_which_jobs_run_after_it() -> None:
    save_job("first")
    chained("third", "first")
    chained("second", "first")
    assert view("first")["children"] == ["second", "third"]
    assert "children" not in view("second")
    for name in ("second", "third"):
        changes.delete("billing", name, "tester", NOON_MS)
    assert "children" not in view("first")


def test_an_orphan_shows_it_until_its_parent_is_created_again() -> None:
    save_job("first")
    chained("second", "first")
    assert "orphaned_by" not in view("second")
    changes.delete("billing", "first", "tester", NOON_MS)
    assert view("second")["orphaned_by"] == ["first"]
    assert (view("second")["next_fire_times"], "time_zone" in view("second")) == ([], False)
    save_job("first")
    assert "orphaned_by" not in view("second")
    assert children("first") == ["second"]


def test_a_chained_job_can_be_paused_for_its_failures_and_counts_anew_after_a_resume() -> None:
    save_job("first")
    before = chained("second", "first", pause_after_failures=2)
    changes.pause("billing", "second", {"reason": "night"}, "tester", NOON_MS + 1000)
    after = changes.resume("billing", "second", "tester", NOON_MS + 9000)
    assert (before["active_since_ms"], after["active_since_ms"]) == (NOON_MS, NOON_MS + 9000)


def test_a_job_without_a_chain_is_saved_without_a_further_read_or_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = operations(monkeypatch)
    save_job("alone")
    assert calls.count("GetItem") == 1
