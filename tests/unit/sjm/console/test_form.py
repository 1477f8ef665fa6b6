"""The form of a job: what it sends, what it keeps, and what it says."""

from typing import Any

import pytest

from sjm.client import Job
from sjm.console import words
from tests.unit.sjm.console.stage_server import StageServer
from tests.unit.sjm.console.stage_stand_in import Stage, now_ms
from tests.unit.sjm.console.visitor import Visitor, text_of

DAILY = "cron(0 2 * * ? *)"
# Every field that a PUT takes.
WHOLE: Any = {
    "schedule": DAILY,
    "time_zone": "Europe/Berlin",
    "start_at": "2026-01-01T00:00:00Z",
    "end_at": "2190-01-01T00:00:00Z",
    "invocation_type": "http",
    "invocation_target": "https://billing.example/jobs/nightly?a=1&b=<2>",
    "payload": '\n{"ledger": 7,\r\n "x": "</textarea><script>"}\n',
    "enabled": False,
    "async": True,
    "overlap": "queue_one",
    "ttl_seconds": 120,
    "heartbeat_interval_seconds": 60,
    "max_duration_seconds": 7200,
    "starting_deadline_seconds": 30,
    "workflow_type": "express",
    "catch_up": "one",
    "retry": {"max_attempts": 3, "interval_seconds": 10, "backoff_rate": 1.5, "on": ["timeout"]},
    "alert_after_failures": 2,
    "pause_after_failures": 5,
    "warn_after_seconds": 60,
    "description": "closes “the books”",
    "owner": "Doe, Jane",
    "tags": {"team": "payments & co", "note": "two\nlines"},
}
CREATED = {
    "service_name": "billing",
    "job_name": "nightly",
    "schedule": "another",
    "schedule_text": DAILY,
    "invocation_type": "sns",
}


def put(server: StageServer, job: Job, name: str = "nightly") -> None:
    with server.manager() as manager:
        manager.put_job("billing", name, job)


def saved(server: StageServer, name: str = "nightly") -> dict[str, Any]:
    with server.manager() as manager:
        return dict(manager.get_job("billing", name))


def test_a_job_that_is_saved_unchanged_stays_as_it_is_to_the_byte(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, WHOLE)
    before = saved(stage_server)

    done = visitor.submit(visitor.get("/jobs/billing/nightly/edit"), {})

    assert "Changed billing/nightly, version 1." in done.text
    assert saved(stage_server) == before
    assert {name: before[name] for name in WHOLE} == WHOLE


def test_a_schedule_that_exists_is_offered_first_and_picked(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, {"schedule": DAILY, "invocation_type": "sns"}, "first")
    page = visitor.get("/new")
    assert page.text.index(f'value="{DAILY}"') < page.text.index('value="another"')
    assert "at 02:00 UTC" in page.text
    assert "room for 299 more schedules" in page.text

    done = visitor.submit(
        page, {"service_name": "billing", "job_name": "second", "schedule": DAILY, "invocation_type": "sns"}
    )

    assert "Created billing/second, version 1." in done.text
    assert saved(stage_server, "second")["schedule"] == DAILY


def test_a_schedule_in_a_time_zone_is_picked_with_its_zone_and_its_bounds(
    visitor: Visitor, stage_server: StageServer
) -> None:
    timing = {name: WHOLE[name] for name in ("schedule", "time_zone", "start_at", "end_at")}
    put(stage_server, {**timing, "invocation_type": "sns"}, "first")  # type: ignore[typeddict-item]
    key = f"{DAILY} Europe/Berlin from 2026-01-01T00:00:00Z until 2190-01-01T00:00:00Z"
    page = visitor.get("/new")
    assert "at 02:00 Europe/Berlin, from 2026-01-01T00:00:00Z, until 2190-01-01T00:00:00Z" in page.text

    visitor.submit(
        page, {"service_name": "billing", "job_name": "second", "schedule": key, "invocation_type": "sns"}
    )

    second = saved(stage_server, "second")
    assert {name: second.get(name) for name in timing} == timing


def test_a_time_zone_is_typed_beside_the_expression(visitor: Visitor, stage_server: StageServer) -> None:
    page = visitor.get("/new")
    assert '<option value="Asia/Kathmandu">' in page.text
    wrong = visitor.submit(page, {**CREATED, "time_zone": "Asia/Katmandoo"})
    error = wrong.text[wrong.text.index('id="time_zone-error"') :][:300]
    assert "Asia/Kat" in error
    assert 'name="time_zone" value="Asia/Katmandoo"' in wrong.text

    visitor.submit(wrong, {"time_zone": "asia/kathmandu"})

    assert saved(stage_server)["time_zone"] == "Asia/Kathmandu"
    edited = visitor.get("/jobs/billing/nightly/edit")
    assert "at 02:00 Asia/Kathmandu" in text_of(edited.text)


def test_a_rate_keeps_the_time_zone_in_which_it_is_shown(visitor: Visitor, stage_server: StageServer) -> None:
    rate: Any = {"schedule": "rate(1 hour)", "time_zone": "Europe/Berlin", "invocation_type": "sns"}
    put(stage_server, rate)
    visitor.submit(visitor.get("/jobs/billing/nightly/edit"), {"owner": "ann"})

    assert saved(stage_server)["time_zone"] == "Europe/Berlin"


def test_errors_stand_beside_their_fields_and_nothing_typed_is_lost(visitor: Visitor) -> None:
    typed = {
        **CREATED,
        "ttl_seconds": "1",
        "retry.max_attempts": "three",
        "owner": "ann & <b>",
        "payload": "{",
    }
    page = visitor.submit(visitor.get("/new"), typed)
    assert "Not saved yet" in page.text
    assert "expected a whole number" in page.text
    assert 'value="three"' in page.text
    # What the page itself finds wrong is not sent. What the API finds wrong looks the same.
    page = visitor.submit(page, {"retry.max_attempts": "3"})
    error = page.text[page.text.index('id="ttl_seconds-error"') :][:200]
    assert "10" in error
    assert 'id="ttl_seconds" name="ttl_seconds" value="1"' in page.text
    assert 'value="ann &amp; &lt;b&gt;"' in page.text
    assert 'aria-describedby="ttl_seconds-hint ttl_seconds-error" aria-invalid="true"' in page.text

    done = visitor.submit(page, {"ttl_seconds": "60"})
    assert "Created billing/nightly" in done.text


def test_a_target_that_fails_its_test_says_what_was_seen(visitor: Visitor, stage: Stage) -> None:
    target = "https://billing.example/jobs/nightly"
    stage.target_answers[target] = {"http_status": 503, "duration_ms": 40}
    page = visitor.submit(
        visitor.get("/new"), {**CREATED, "invocation_type": "http", "invocation_target": target}
    )
    assert "answered HTTP 503 after 40 ms" in text_of(page.text)
    assert "The target does not take notifications" in page.text

    done = visitor.submit(page, {"test_invocation": None})
    assert "Created billing/nightly" in done.text


def test_without_room_the_nearest_schedules_are_offered(visitor: Visitor, stage_server: StageServer) -> None:
    stage_server.stage.schedule_limit = 1
    put(stage_server, {"schedule": "cron(5 2 * * ? *)", "invocation_type": "sns"}, "first")
    page = visitor.submit(visitor.get("/new"), CREATED)
    assert "the stage has no room for one more schedule" in page.text
    assert "Most like yours:" in page.text

    done = visitor.submit(page, {"schedule": "cron(5 2 * * ? *)"})
    assert "Created billing/nightly" in done.text


def test_a_name_that_exists_is_not_replaced(visitor: Visitor, stage_server: StageServer) -> None:
    put(stage_server, WHOLE)
    page = visitor.submit(visitor.get("/new"), CREATED)
    assert "the service has a job of this name" in page.text
    assert saved(stage_server)["version"] == 1


def test_a_conflict_shows_what_changed_and_lets_one_choose(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, WHOLE)
    page = visitor.get("/jobs/billing/nightly/edit")
    stage_server.stage.change("billing", "nightly", owner="bob", ttl_seconds=200, description="theirs")

    conflict = visitor.submit(page, {"owner": "carla", "alert_after_failures": "5"})

    shown = text_of(conflict.text)
    assert "billing/nightly has changed meanwhile" in shown
    assert "You edited version 1. It is at version 2 now" in shown
    assert "Owner Doe, Jane bob carla" in shown
    assert "Silence allowed 120 200 120 as it was" in shown
    assert saved(stage_server)["owner"] == "bob"

    further = visitor.submit(conflict, {"choice.description": "mine", "edit_further": "yes"})
    assert 'name="owner" value="carla"' in further.text
    assert 'name="ttl_seconds" value="200"' in further.text
    done = visitor.submit(further, {})
    assert "Changed billing/nightly, version 3." in done.text
    now = saved(stage_server)
    assert {name: now[name] for name in WHOLE} == {
        **WHOLE,
        "owner": "carla",
        "ttl_seconds": 200,
        "alert_after_failures": 5,
    }


def test_the_choice_of_theirs_is_saved_at_once(visitor: Visitor, stage_server: StageServer) -> None:
    put(stage_server, WHOLE)
    page = visitor.get("/jobs/billing/nightly/edit")
    stage_server.stage.change("billing", "nightly", owner="bob")

    conflict = visitor.submit(page, {"owner": "carla", "overlap": "allow"})
    done = visitor.submit(conflict, {"choice.owner": "theirs"})

    assert "version 3" in done.text
    assert (saved(stage_server)["owner"], saved(stage_server)["overlap"]) == ("bob", "allow")


def test_a_job_that_was_deleted_meanwhile_is_not_made_again_unasked(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, WHOLE)
    page = visitor.get("/jobs/billing/nightly/edit")
    with stage_server.manager() as manager:
        manager.delete_job("billing", "nightly")
    refused = visitor.submit(page, {"owner": "carla"})
    assert "There is no job billing/nightly" in refused.text
    assert 'value="carla"' in refused.text


def test_a_warning_is_one_sentence_and_is_told_once(visitor: Visitor, stage_server: StageServer) -> None:
    warning = {
        "code": "shared_rate",
        "detail": "counted from about 2001-12-24T18:00:00Z: use a cron expression.",
    }
    stage_server.stage.warnings = [warning]
    made = visitor.submit(visitor.get("/new"), {**CREATED, "schedule_text": "rate(1 hour)"})
    at = words.clock(words.ms_of("2001-12-24T18:00:00Z") or 0, None, now_ms())
    note = f"Note: counted from about {at}: use a cron expression. "
    assert note in text_of(made.text)

    edit = visitor.get("/jobs/billing/nightly/edit")
    described = visitor.submit(edit, {"description": "closes the books"})
    assert "Changed billing/nightly, version 2." in described.text
    assert "Note" not in described.text
    edit = visitor.get("/jobs/billing/nightly/edit")
    moved = visitor.submit(edit, {"schedule": "another", "schedule_text": "rate(2 hours)"})
    assert note in text_of(moved.text)


def test_a_rate_that_is_in_use_is_not_counted_from_now(visitor: Visitor, stage_server: StageServer) -> None:
    put(stage_server, {"schedule": "rate(1 hour)", "invocation_type": "sns"})
    target = "/schedules/preview?schedule=another&schedule_text=rate(1+hour)"
    unknown = text_of(visitor.get(target).text)
    assert (
        "1 job has this rate already. It is counted from when the first one got it, not from now" in unknown
    )
    assert "EventBridge does not say when it fires next." in unknown
    stage_server.stage.fire("rate(1 hour)", now_ms() - 1_000_000)
    visitor.submit(visitor.get("/schedules/reconcile"), {})  # after an act, everything is read again
    page = visitor.get(target).text
    assert "it fires next at about" in page
    assert "in 43 min" in text_of(page)
    assert "<ol" not in page


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (DAILY, "at 02:00 UTC"),
        ("rate(5 minutes)", "Counted from now"),
        ("cron(0 0 31 2 ? *)", "never fires again"),
        ("every day", "Expected rate(…), cron(…) or at(…)"),
        ("at(2190-12-24T18:00:00)&time_zone=Asia/Kathmandu", "once, on 2190-12-24 at 18:00 Asia/Kathmandu"),
        ("at(2190-12-24T18:00:00)&time_zone=Asia/Kathmandu", "Fri 2190-12-24 18:00 Asia/Kathmandu ="),
        (f"{DAILY}&time_zone=Europe/Berlinn", "the nearest: Europe/Berlin"),
        ("cron(30 2 28 3 ? 2027)&time_zone=Europe/Berlin&start_at=x", "From: expected a time"),
        ("cron(30 2 28 3 ? 2183)&time_zone=Europe/Berlin", "at 02:30 Europe/Berlin"),
        ("cron(61 2 * * ? *)", "expected 0-59"),
        ("cron(<script>)", "expected 6 fields"),
    ],
)
def test_an_expression_is_explained_as_one_types(visitor: Visitor, typed: str, said: str) -> None:
    page = visitor.get(f"/schedules/preview?schedule=another&schedule_text={typed.replace(' ', '+')}")
    assert said in text_of(page.text)
    assert "<script>)" not in page.text


def test_what_does_not_look_like_a_schedule_is_not_asked(visitor: Visitor, stage: Stage) -> None:
    for typed in ("c", "cron(", "x" * 300, "cron(" + "1" * 300 + ")"):
        visitor.part(f"/schedules/preview?schedule=another&schedule_text={typed}")
    for _ in range(3):
        visitor.part("/schedules/preview?schedule=rate(1+hour)")
    asked = [target for _, target in stage.received if "preview" in target]
    assert len(asked) == 1


def test_a_job_that_is_defined_as_code_says_so_before_and_after(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, WHOLE)
    stage_server.stage.change("billing", "nightly", managed_by="terraform/environments/prod")
    page = visitor.get("/jobs/billing/nightly/edit")
    assert "This job is defined as code, in terraform/environments/prod" in text_of(page.text)
    refused = visitor.submit(page, {"owner": "carla"})
    assert "The job is managed elsewhere" in refused.text
    assert 'value="carla"' in refused.text
