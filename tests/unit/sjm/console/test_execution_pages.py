"""The pages of an execution, of schedules, and of what is to be rerun."""

import re
import time
from typing import Any

import pytest

from sjm.client import Job
from tests.unit.sjm.console.stage_server import StageServer
from tests.unit.sjm.console.stage_stand_in import Stage
from tests.unit.sjm.console.visitor import Visitor, http_statuses_in, text_of

DAILY: Job = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}
PAUSED = {"reason": "x", "paused_at": "2026-01-01T00:00:00Z", "paused_by": "ann"}
HOSTILE = "<script>alert(1)</script>\u202egnp.exe {{ 7*7 }}"


def run_of(server: StageServer, **fields: Any) -> dict[str, Any]:
    with server.manager() as manager:
        manager.put_job("billing", "nightly", {**DAILY, **fields})  # type: ignore[typeddict-item]
        return dict(manager.start_execution("billing", "nightly"))


def page_of(run: dict[str, Any], *more: str) -> str:
    return "/".join(["/jobs/billing/nightly/executions", run["execution_id"], *more])


def report(server: StageServer, **body: Any) -> None:
    with server.manager() as manager:
        manager.call_back(server.stage.callback_url("nightly"), body)  # type: ignore[arg-type]


def test_a_run_is_followed_until_it_ends(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server, payload=HOSTILE)
    report(stage_server, status="processing", progress=40)
    page = visitor.get(page_of(run)).text
    assert "Progress: 40 %" in page
    assert 'data-live="5"' in page
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "{{ 7*7 }}" in page

    report(stage_server, status="success", summary="done", state="s-1")
    visitor.post(page_of(run, "cancel"), [])  # an act that comes too late lets everything be read again
    page = visitor.part(page_of(run))
    assert "data-live" not in page
    assert "Rerun …" in page
    assert ">s-1<" in page


def test_a_run_shows_its_seconds_and_its_lock(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server, exclusive=True)
    running = text_of(visitor.get(page_of(run)).text)
    assert "holds the job's lock" in running
    done = visitor.submit(visitor.get(page_of(run, "cancel")), {"reason": "wrong ledger"})
    ended = text_of(done.text)
    for name in ("Scheduled", "Started", "Ended"):
        assert re.search(rf"{name} (yesterday )?\d\d:\d\d:\d\d\b", ended)
    assert "holds the job's lock" not in ended
    assert 'class="card why-card cancelled"' in done.text


def test_a_failure_says_why_and_is_run_again_once(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server, payload="7")
    error = {"name": "LedgerLocked", "html": HOSTILE}
    report(stage_server, status="fail", error=error, summary="whsec_c2VjcmV0 and /callback/abc.def")
    page = visitor.get(page_of(run)).text
    assert "LedgerLocked" in page
    assert "c2VjcmV0" not in page
    assert "abc.def" not in page

    confirmation = visitor.get(page_of(run, "rerun"))
    assert "It gets the payload of this execution" in confirmation.text
    first, again = visitor.submit(confirmation, {}), visitor.submit(confirmation, {})
    assert first.path == again.path != page_of(run)
    assert "It runs again" in first.text
    assert "an earlier execution" in first.text


def test_a_run_is_cancelled_with_a_reason(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server)
    done = visitor.submit(visitor.get(page_of(run, "cancel")), {"reason": "wrong ledger"})
    assert "The execution is cancelled" in done.text
    assert "wrong ledger" in done.text
    late = visitor.get(page_of(run, "cancel"))
    assert "there is nothing to cancel" in late.text


@pytest.mark.parametrize(
    ("job", "change", "said"),
    [
        (
            {},
            {},
            "It ends as cancelled. The service is not stopped: it gets 410 for its next callback. The job",
        ),
        ({"exclusive": True}, {}, "It ends as cancelled and the job's lock is free again."),
        ({"retry": {"max_attempts": 2}}, {}, "It ends as cancelled and no further attempt follows."),
        ({}, {"enabled": False}, "The job stays disabled."),
        ({}, {"completed_at": "2026-01-01T00:00:00Z"}, "The job is completed"),
        ({}, {"paused": PAUSED}, "The job stays paused."),
    ],
)
def test_what_cancelling_does_is_told_for_this_job(
    visitor: Visitor, stage_server: StageServer, job: Any, change: Any, said: str
) -> None:
    run = run_of(stage_server, **job)
    stage_server.stage.change("billing", "nightly", **change)
    text = text_of(visitor.get(page_of(run, "cancel")).text)
    assert said in text
    assert ("lock" in text) == ("exclusive" in job)
    assert ("goes on firing" in text) == (not change)


def test_of_a_job_that_is_deleted_or_not_read_less_is_told(
    visitor: Visitor, stage_server: StageServer
) -> None:
    run = run_of(stage_server, exclusive=True)
    for _ in range(2):
        stage_server.stage.fail_next("GET /services/billing/jobs/nightly$", 503)
    unread = text_of(visitor.get(page_of(run, "cancel")).text)
    assert "It ends as cancelled. The service is not stopped" in unread
    assert "The job" not in unread
    visitor.submit(visitor.get("/schedules/reconcile"), {})  # after an act, everything is read again
    visitor.submit(visitor.get("/jobs/billing/nightly/delete"), {})
    assert "The job was deleted, so it does not fire again." in visitor.get(page_of(run, "cancel")).text


def test_attempts_are_listed_and_drawn(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server, retry={"max_attempts": 2, "interval_seconds": 600})
    report(stage_server, status="fail", error="Job.Custom")
    waiting = text_of(visitor.get(page_of(run)).text)
    assert "Attempt 1 failed; the next one begins in" in waiting
    stage_server.stage.next_attempt(run["execution_id"])
    stage_server.stage.end(run["execution_id"], "timeout", error="Job.HeartbeatTimeout", cause="silent")
    visitor.post(page_of(run, "cancel"), [])
    page = visitor.part(page_of(run))
    assert page.count("<rect") == 2
    assert "After the notification came neither a heartbeat nor a result" in page


def test_what_waits_says_for_what_and_can_be_cancelled(visitor: Visitor, stage_server: StageServer) -> None:
    run_of(stage_server, overlap="queue_one")
    waiting = run_of(stage_server, overlap="queue_one")
    page = visitor.get(page_of(waiting)).text
    text = text_of(page)
    assert "What it waits for" in text
    assert "Another execution of the job runs. It starts when its turn comes." in text
    assert re.search(r"lock_held ?: the lock is held by", text)
    assert "Waited since" in text and "Started" not in text
    assert 'class="card why-card waiting"' in page
    assert 'data-live="5"' in page

    confirmation = visitor.get(page_of(waiting, "cancel"))
    said = text_of(confirmation.text)
    assert "It waits for" in said
    assert "It ends as cancelled, and its service is not notified. The job goes on firing." in said
    assert "Let it wait" in said
    done = visitor.submit(confirmation, {})
    assert "The execution is cancelled." in done.text
    assert not http_statuses_in(done.text)


def test_what_waits_for_its_time_says_when_that_is(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server)
    reason = {"code": "limit_reached", "detail": "the limit db-main has no room yet"}
    times = {"waiting_since_ms": run["started_at_ms"], "may_start_at_ms": run["started_at_ms"] + 3_600_000}
    stage_server.stage.add({**run, **times, "status": "waiting", "reason": reason})
    text = text_of(visitor.get(page_of(run)).text)
    assert re.search(r"May start in \d+ min", text)
    assert "The job's limit has no room." in text


def test_what_waited_says_for_how_long(visitor: Visitor, stage_server: StageServer) -> None:
    run_of(stage_server, overlap="queue_all")
    waiting = run_of(stage_server, overlap="queue_all")
    report(stage_server, status="success")
    text = text_of(visitor.get(page_of(waiting)).text)
    assert re.search(r"Waited since (yesterday )?\d\d:\d\d:\d\d ?, for [\d.]+ m?s", text)
    assert "Started" in text and "What it waits for" not in text


def test_what_took_its_place_is_said(visitor: Visitor, stage_server: StageServer) -> None:
    run_of(stage_server, overlap="queue_one")
    first = run_of(stage_server, overlap="queue_one")
    run_of(stage_server, overlap="queue_one")
    text = text_of(visitor.get(page_of(first)).text)
    assert "One of a newer time waits in its place." in text
    assert "superseded" in text


def test_a_skip_says_why(visitor: Visitor, stage_server: StageServer) -> None:
    run_of(stage_server, exclusive=True)
    (skipped,) = stage_server.stage.fire(DAILY["schedule"], at_ms=1_795_399_200_000)
    page = text_of(visitor.get(page_of(skipped)).text)
    assert "Another execution had the lock of the job." in page
    assert "lock_held" in page


def test_what_is_not_there_or_cannot_be_is_not_found(visitor: Visitor, stage_server: StageServer) -> None:
    run = run_of(stage_server)
    for path in (
        page_of(run) + "x",
        "/jobs/billing/night%20ly/executions/x",
        "/jobs/billing/nightly/executions/a%20b",
    ):
        assert "<h1>Not found</h1>" in visitor.get(path).text
    assert "<h1>Not found</h1>" in visitor.post("/jobs/billing/nightly/executions/x/rerun", []).text


def test_schedules_say_how_many_are_left(visitor: Visitor, stage_server: StageServer) -> None:
    empty = text_of(visitor.get("/schedules").text)
    assert "0 of 300 in use: room for 300 more" in empty
    assert "No schedule is in use" in empty
    run_of(stage_server)
    done = visitor.submit(visitor.get("/schedules/reconcile"), {})
    assert "1 rule checked. Nothing was to be repaired." in done.text
    page = text_of(done.text)
    assert "1 of 300 in use" in page
    assert "at 02:00 UTC" in page
    assert 'href="/jobs?schedule=cron%280+2' in done.text


def test_a_stage_that_does_not_answer_is_said(visitor: Visitor, stage_server: StageServer) -> None:
    for _ in range(2):
        stage_server.stage.fail_next("GET /schedules", 503)
    page = visitor.get("/schedules").text
    assert 'role="alert"' in page
    assert "Service Unavailable" in page


def test_what_failed_is_chosen_confirmed_and_run_again(visitor: Visitor, stage_server: StageServer) -> None:
    with stage_server.manager() as manager:
        for name in ("a", "b", "locked"):
            manager.put_job("billing", name, {**DAILY, "exclusive": name == "locked"})
            manager.start_execution("billing", name)
            manager.call_back(
                stage_server.stage.callback_url(name), {"status": "fail", "error": f"Broken-{name}"}
            )
        holder = manager.start_execution("billing", "locked")
    page = visitor.get("/rerun")
    assert page.text.count('type="checkbox"') == 3
    assert page.text.count(" checked") == 3
    chosen = re.findall(r'name="run" id="[^"]+" value="([^"]+)"', page.text)

    asked = visitor.post("/rerun", [("run", each) for each in chosen])
    assert "Rerun 3 executions of 3 jobs?" in text_of(asked.text)
    assert asked.text[asked.text.index("<ul") :].count("<time ") == 3
    done = visitor.submit(asked, {})
    shown = text_of(done.text)
    assert "2 executions started, 1 not" in shown
    assert holder["execution_id"] in shown
    assert len(re.findall(r"started (yesterday )?\d\d:\d\d:\d\d", shown)) == 2
    assert len(re.findall(r"rerun of (yesterday )?\d\d:\d\d", shown)) == 2
    # The same form again starts nothing more.
    count = len(stage_server.stage.notifications)
    assert "2 executions started, 1 not" in text_of(visitor.submit(asked, {}).text)
    assert len(stage_server.stage.notifications) == count
    page = visitor.get("/rerun")
    assert page.text.count("rerun already") == 2
    assert page.text.count(" checked") == 1
    with stage_server.manager() as manager:
        manager.call_back(stage_server.stage.callback_url("a"), {"status": "fail", "error": "Broken-a"})
    visitor.submit(visitor.get("/schedules/reconcile"), {})  # after an act, everything is read again
    page = visitor.get("/rerun")
    assert page.text.count('type="checkbox"') == 4
    assert page.text.count("is a rerun") == 1
    assert page.text.count(" checked") == 1


def test_what_has_succeeded_since_is_not_chosen(visitor: Visitor, stage_server: StageServer) -> None:
    for status in ("fail", "success"):
        run_of(stage_server)
        report(stage_server, status=status)
        time.sleep(0.01)
    page = visitor.get("/rerun")
    assert page.text.count('type="checkbox"') == 1
    assert "succeeded since" in text_of(page.text[page.text.index("<tbody>") :])
    assert page.text.count(" checked") == 0
    for _ in range(2):
        stage_server.stage.fail_next("POST /jobs$", 503)
    visitor.submit(visitor.get("/schedules/reconcile"), {})  # after an act, everything is read again
    assert visitor.get("/rerun?hours=1").text.count('type="checkbox"') == 1


def test_more_than_a_hundred_are_not_run_again_at_once(visitor: Visitor, stage: Stage) -> None:
    chosen = [("run", f"billing/nightly/e-{number}") for number in range(130)]
    odd = [("run", "x"), ("run", "a/b/c/d"), ("run", "<script>/b/c")]
    page = text_of(visitor.post("/rerun", [*chosen, *odd]).text)
    assert "Rerun 100 executions of 1 job?" in page
    assert "At most 100 are rerun at once" in page
    assert text_of(visitor.post("/rerun", odd).text).count("Nothing is chosen") == 1
    assert [each for each in stage.received if each[0] == "POST"] == []


def test_what_failed_is_searched_within_bounds(visitor: Visitor, stage: Stage) -> None:
    page = visitor.get("/rerun?service=no%20name&hours=999").text
    assert "Expected 1 to 64 characters" in page
    assert stage.received == []
    assert "Nothing failed in the last hour in billing" in text_of(
        visitor.get("/rerun?service=billing&hours=1").text
    )
