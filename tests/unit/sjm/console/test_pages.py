"""The pages now, jobs and job, and what can be done on them, without JavaScript."""

import re
import time
import zlib
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import quote

import pytest

from jobmanager.core.clock import iso
from sjm.console.pages.jobs import search_of
from sjm.console.site import FRAME_AFTER_SECONDS
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Json, Stage, now_ms
from tests.unit.sjm.console.visitor import Visitor, http_statuses_in, text_of, visiting

NIGHTLY: Json = {
    "schedule": "cron(0 2 * * ? *)",
    "invocation_type": "http",
    "invocation_target": "https://billing.example/jobs/nightly",
    "payload": '{"ledger": 7}',
    "exclusive": True,
    "owner": "Doe, Jane",
    "tags": {"team": "payments"},
}
WITHOUT_LOCK = {name: value for name, value in NIGHTLY.items() if name != "exclusive"}
OF_NIGHTLY = "/jobs/billing/nightly"


def test_a_browser_gets_the_frame_while_the_stage_is_asked(nightly: Stage, stage_server: StageServer) -> None:
    nightly.seconds_to_answer = 2
    with (
        visiting(stage_server, frame_after_seconds=FRAME_AFTER_SECONDS) as visitor,
        closing(HTTPConnection("127.0.0.1", visitor.access.port, timeout=60)) as connection,
    ):
        connection.request("GET", OF_NIGHTLY, None, {"cookie": visitor.cookie, "accept-encoding": "gzip"})
        response = connection.getresponse()
        unpacked = zlib.decompressobj(wbits=31)
        first, rest = (unpacked.decompress(each).decode() for each in (response.read1(), response.read()))

    assert 'rel="stylesheet"' in first and "<main" in first
    assert "<h1>" not in first and "<h1>" in rest


@pytest.fixture
def nightly(stage: Stage, stage_server: StageServer) -> Stage:
    stage.put_job("billing", "nightly", NIGHTLY, {})
    return stage


def began(stage: Stage) -> str:
    return str(stage.notifications[-1]["execution_id"])


# Now


def test_a_new_user_finds_what_matters(visitor: Visitor, nightly: Stage) -> None:
    nightly.put_job("search", "reindex", {**NIGHTLY, "schedule": "rate(5 minutes)", "exclusive": False}, {})
    (failed,) = nightly.fire("rate(5 minutes)", now_ms() - 200_000)
    nightly.end(failed["execution_id"], "fail", error="OutOfDisk", cause="no space left on device")
    nightly.fire(str(NIGHTLY["schedule"]))
    running = began(nightly)

    page = visitor.get("/").text
    text = text_of(page)

    assert "1 running now" in text
    assert "holds the job's lock since" in text
    assert f'href="{OF_NIGHTLY}/executions/{running}/cancel" data-dialog>Cancel …</a>' in page
    assert "1 failed since yesterday" in text
    assert "OutOfDisk · no space left on device" in text
    assert f'executions/{failed["execution_id"]}/rerun"' in page
    assert "298 schedules left of 300" in text
    assert re.search(r"Comes next search/ ?reindex about in \d+ (min|s) every 5 minutes", text)
    assert re.search(r"billing/ ?nightly in \d+ \w+ at 02:00 UTC", text)
    assert "Everything is on time." in text


def test_what_waits_is_listed_with_what_it_waits_for(visitor: Visitor, nightly: Stage) -> None:
    nightly.put_job("billing", "nightly", {**WITHOUT_LOCK, "overlap": "queue_all"}, {})
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 1000)
    (waiting,) = nightly.fire(str(NIGHTLY["schedule"]))

    page = visitor.get("/").text
    text = text_of(page)

    assert "1 running now" in text
    assert "1 waiting" in text
    assert re.search(
        r"Waiting billing/ ?nightly Cancel … for [\d.]+ m?s ?\. Another execution of the job runs\.", text
    )
    assert f'href="{OF_NIGHTLY}/executions/{waiting["execution_id"]}/cancel" data-dialog>Cancel …</a>' in page
    assert 'class="mark waiting"' in page
    assert "Everything is on time." in text


def test_a_stage_of_an_earlier_version_has_nothing_that_waits(visitor: Visitor, nightly: Stage) -> None:
    nightly.fail_next("GET /executions.*status=waiting", 400)

    page = visitor.get("/").text

    assert "Nothing is running." in text_of(page)
    assert 'role="alert"' not in page and 'id="waits"' not in page


def test_what_waited_is_not_late(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 1000)
    run = nightly.get_execution("billing", "nightly", began(nightly))[1]
    assert run
    before_ms = now_ms() - 3_600_000
    times = {"scheduled_time_ms": before_ms, "waiting_since_ms": before_ms + 300}
    nightly.add({**run, **times, "scheduled_time": iso(before_ms), "starts_at": iso(before_ms)})

    assert "Everything is on time." in text_of(visitor.get("/").text)


def test_an_empty_stage_says_so(visitor: Visitor) -> None:
    text = text_of(visitor.get("/").text)

    assert "Nothing is running." in text
    assert "Nothing failed since yesterday." in text
    assert "No job is scheduled. Make one" in text
    assert "0 running now" in text


def test_what_is_late_is_named(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 180_000)
    run = nightly.get_execution("billing", "nightly", began(nightly))[1]
    assert run
    nightly.add({**run, "lock_expires_at": iso(now_ms() - 60_000)})

    text = text_of(visitor.get("/").text)

    assert "1 late" in text
    assert re.search(r"Late billing/ ?nightly has not reported in time", text)


def test_a_stage_that_fails_is_said_and_what_was_read_stays(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]))
    assert "1 running now" in text_of(visitor.get("/").text)
    for _ in range(20):
        nightly.fail_next("GET /executions$", 500)
    time.sleep(5.1)

    text = text_of(visitor.get("/live/now").text)

    assert "500" in text
    assert "The stage is asked again in" in text
    assert "1 running now" in text


def test_a_part_is_replaced_by_itself(visitor: Visitor, nightly: Stage) -> None:
    part = visitor.part("/live/now")

    assert part.lstrip().startswith('<div id="now" data-live="5" hx-get="/live/now"')
    assert "<html" not in part


def test_a_part_does_not_wait_for_a_slow_stage_and_asks_again_soon(
    nightly: Stage, stage_server: StageServer
) -> None:
    nightly.seconds_to_answer = 2
    with visiting(stage_server, patience_seconds=0.01) as visitor:
        part = visitor.part("/live/now")

    assert 'data-live="1" hx-get="/live/now"' in part
    assert "Reading …" in part


def test_times_are_in_the_zone_of_the_browser(visitor: Visitor, nightly: Stage) -> None:
    kept = f"{visitor.cookie}; sjm-zone=Asia/Kolkata; sjm-theme=dark"

    page = visitor.get(OF_NIGHTLY, cookie=kept).text

    assert "Times are in Asia/Kolkata." in page
    assert re.search(r"(tomorrow )?07:30</time>", page)
    assert '<html lang="en" data-theme="dark" data-offset="330">' in page


@pytest.mark.parametrize("zone", ["../../etc/passwd", "Mars/Phobos", "", "x" * 5000, "%00", "/etc/localtime"])
def test_a_zone_that_is_none_is_that_of_this_machine(visitor: Visitor, zone: str) -> None:
    page = visitor.get("/jobs", cookie=f"{visitor.cookie}; sjm-zone={zone}; sjm-theme=<x>")

    assert page.status == 200
    assert 'data-theme="auto"' in page.text


# Jobs


@pytest.mark.parametrize(
    "query",
    [
        "service=billing",
        "job=nightly",
        "job=billing%2Fnightly",
        "owner=Doe%2C+Jane",
        "tag=team%3Dpayments",
        "schedule=" + quote(str(NIGHTLY["schedule"])),
    ],
)
def test_jobs_are_found(visitor: Visitor, nightly: Stage, query: str) -> None:
    nightly.put_job(
        "search", "reindex", {**NIGHTLY, "schedule": "rate(5 minutes)", "owner": "b", "tags": {}}, {}
    )

    page = visitor.get(f"/jobs?{query}").text

    assert f'href="{OF_NIGHTLY}"' in page
    assert "/jobs/search/reindex" not in page


def test_a_search_that_finds_nothing_says_so(visitor: Visitor, nightly: Stage) -> None:
    assert "No job is like that." in text_of(visitor.get("/jobs?service=other").text)


def test_a_search_that_the_api_refuses_keeps_what_was_typed(visitor: Visitor, nightly: Stage) -> None:
    nightly.fail_next(
        "POST /jobs", 400, {"type": "/problems/bad-request", "title": "Bad request", "detail": "tags: no"}
    )

    page = visitor.get("/jobs?tag=%22x")

    assert "tags: no" in page.text
    assert 'name="tag" value="&#34;x"' in page.text


def test_a_search_goes_on_where_it_ended() -> None:
    search = search_of({"service": " billing ", "tag": "a=b=c", "more": "x"})

    assert search.of_api() == {"service_name": "billing", "tags": {"a": "b=c"}, "limit": 50, "more": "x"}
    assert search.link("y") == "/jobs?service=billing&tag=a%3Db%3Dc&more=y"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("/", "schedules left of 300"),
        ("/jobs", "These are the first 50."),
        ("/jobs/team-0001/job-002", "History"),
    ],
)
def test_a_stage_of_a_hundred_thousand_jobs_opens_soon(page: str, found: str) -> None:
    with served(Stage(jobs=100_000, executions=1_000_000)) as server:
        before = len(server.stage.received)
        with visiting(server) as visitor:
            # Of the processor, which other programs use as well. The stage runs in this process, too.
            began_at = time.process_time()
            answer = visitor.get(page)
            seconds = time.process_time() - began_at
    assert found in text_of(answer.text)
    assert len(answer.text) < 200_000
    assert len(server.stage.received) - before <= 25
    assert seconds < 2


# A job


def test_a_job_shows_what_it_is_and_how_it_went(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 100_000)
    nightly.end(began(nightly), "success", summary="closed the books", state="invoice 4711")
    nightly.fire(str(NIGHTLY["schedule"]))
    running = began(nightly)

    page = visitor.get(OF_NIGHTLY)
    text = text_of(page.text)

    for found in (
        "at 02:00 UTC",
        "If it runs already the new one is skipped",
        "after 5 min of silence",
        "Doe, Jane",
        "team=payments",
    ):
        assert found in text
    assert '{"ledger": 7}' in text
    assert "invoice 4711" in text
    assert "closed the books" in text
    assert f"Held by execution {running} since" in text
    assert f'{running}/cancel" data-dialog>Cancel …</a>' in page.text
    assert page.text.count('class="mark running"') == 2  # a bar, and the legend
    only = text_of(visitor.get(f"{OF_NIGHTLY}?status=success").text)
    assert "closed the books" in only
    assert "62.5" not in only


def test_a_job_that_is_not_there_is_not_found(visitor: Visitor) -> None:
    assert "There is no job billing/nightly." in visitor.get(OF_NIGHTLY).text
    assert visitor.get(OF_NIGHTLY).status == 404
    assert visitor.get("/jobs/billing/%2e%2e%2fx").status == 404
    assert visitor.get("/jobs/bill%3Cing/nightly").status == 404


def test_a_job_runs_once_even_if_its_form_is_sent_twice(visitor: Visitor, nightly: Stage) -> None:
    form = visitor.get(f"{OF_NIGHTLY}/run")

    first = visitor.submit(form, {})
    second = visitor.submit(form, {})

    assert first.path == second.path == f"{OF_NIGHTLY}/executions/{began(nightly)}"
    assert "It runs. This is the execution." in first.text
    assert len(nightly.notifications) == 1
    assert nightly.notifications[0]["payload"] == NIGHTLY["payload"]


def test_a_job_runs_with_another_payload_only_if_asked(visitor: Visitor, nightly: Stage) -> None:
    form = visitor.get(f"{OF_NIGHTLY}/run")

    visitor.submit(form, {"replaces": "yes", "payload": "a\r\nb ü"})

    assert nightly.notifications[0]["payload"] == "a\nb ü"


def test_a_payload_that_is_too_long_is_refused_and_kept(visitor: Visitor, nightly: Stage) -> None:
    answer = visitor.submit(visitor.get(f"{OF_NIGHTLY}/run"), {"replaces": "yes", "payload": "x" * 32_769})

    assert answer.status == 400
    assert "The payload has 32,769 bytes. Expected at most 32,768." in answer.text
    assert "x" * 32_769 in answer.text
    assert nightly.notifications == []


def test_a_job_that_is_locked_says_so_before_and_is_refused(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]))

    form = visitor.get(f"{OF_NIGHTLY}/run")
    answer = visitor.submit(form, {})

    assert "Another execution holds its lock" in form.text
    assert '<button class="button" type="submit">Run it</button>' in form.text
    assert answer.status == 409
    assert f"The lock is held by {began(nightly)}." in answer.text


@pytest.mark.parametrize(
    ("overlap", "said"),
    [
        ("queue_one", "A new one waits until that one ends. If one waits already, only the newest stays."),
        ("queue_all", "A new one waits until that one ends, after those that wait already."),
        ("cancel_running", "If you run a new one, that one is cancelled."),
    ],
)
def test_what_becomes_of_a_new_run_of_a_locked_job_is_said_before(
    visitor: Visitor, nightly: Stage, overlap: str, said: str
) -> None:
    nightly.put_job("billing", "nightly", {**WITHOUT_LOCK, "overlap": overlap}, {})
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 1000)
    first = began(nightly)

    confirmation = visitor.get(f"{OF_NIGHTLY}/run")
    assert said in text_of(confirmation.text)
    done = text_of(visitor.submit(confirmation, {}).text)

    status = nightly.get_execution("billing", "nightly", first)[1]
    assert status
    if overlap == "cancel_running":
        assert (status["status"], began(nightly) != first) == ("cancelled", True)
    else:
        assert (status["status"], began(nightly)) == ("running", first)
        assert "waiting" in done


def test_a_job_is_paused_with_a_reason_and_resumed(visitor: Visitor, nightly: Stage) -> None:
    form = visitor.get(f"{OF_NIGHTLY}/pause")
    without = visitor.submit(form, {"reason": "  ", "until": "2100-01-01T06:00"})
    past = visitor.submit(form, {"reason": "why", "until": "2001-01-01T06:00"})
    odd = visitor.submit(form, {"reason": "why", "until": "soon"})

    assert "Why (required)" in text_of(form.text)
    assert [each.status for each in (without, past, odd)] == [400, 400, 400]
    assert 'value="2100-01-01T06:00"' in without.text
    assert "Expected a time in the future." in past.text

    paused = visitor.submit(form, {"reason": "the ledger moves", "until": "2100-01-01T06:00"})
    assert "The job is paused." in paused.text
    assert "the ledger moves" in paused.text
    job = nightly.get_job("billing", "nightly")[1]
    assert job
    assert job["paused"]["until"].startswith(("2100-01-01", "2099-12-31"))

    resumed = visitor.submit(visitor.get(f"{OF_NIGHTLY}/resume"), {})
    assert "The job fires again" in resumed.text
    assert "paused" not in (nightly.get_job("billing", "nightly")[1] or {})


def test_the_target_of_a_job_is_tested(visitor: Visitor, nightly: Stage) -> None:
    assert "it answered 202 after 31 ms" in visitor.submit(visitor.get(f"{OF_NIGHTLY}/test"), {}).text

    nightly.target_answers[str(NIGHTLY["invocation_target"])] = {"http_status": 503, "duration_ms": 9}
    refused = visitor.submit(visitor.get(f"{OF_NIGHTLY}/test"), {})
    assert refused.status == 422
    assert "it answered HTTP 503" in refused.text


def test_a_job_that_changed_since_is_not_deleted(visitor: Visitor, nightly: Stage) -> None:
    form = visitor.get(f"{OF_NIGHTLY}/delete")
    nightly.change("billing", "nightly", description="changed meanwhile")

    refused = visitor.submit(form, {})
    assert refused.status == 412
    assert "billing/nightly has changed: it is at version 2 now." in text_of(refused.text)
    deleted = visitor.submit(visitor.get(f"{OF_NIGHTLY}/delete"), {})

    assert deleted.path == "/jobs"
    assert "billing/nightly is deleted." in deleted.text
    assert "There is no job billing/nightly." in visitor.get(OF_NIGHTLY).text


RAW = ("PUT it", "If-Match", "GET /")


def test_a_deleted_job_says_so_keeps_its_history_and_offers_no_act(visitor: Visitor, nightly: Stage) -> None:
    nightly.fire(str(NIGHTLY["schedule"]), now_ms() - 100_000)
    nightly.end(began(nightly), "success", summary="closed the books")
    assert "act-pause" in visitor.get(OF_NIGHTLY).text
    visitor.submit(visitor.get(f"{OF_NIGHTLY}/delete"), {})

    whole, live = visitor.get(OF_NIGHTLY), visitor.part(f"{OF_NIGHTLY}/live")

    for page in (whole.text, live):
        assert "This job was deleted." in page
        assert "closed the books" in text_of(page)
        for wrong in ("act-", "active", "Fires next", "is asked again", "data-live", *RAW):
            assert wrong not in page[page.index('id="job"') :]
        assert not http_statuses_in(page)


@pytest.mark.parametrize("act", ["edit", "run", "pause", "resume", "test", "delete"])
def test_nothing_is_done_to_a_job_that_is_gone(visitor: Visitor, nightly: Stage, act: str) -> None:
    assert "There is no job" not in visitor.get(f"{OF_NIGHTLY}/{act}").text
    visitor.submit(visitor.get(f"{OF_NIGHTLY}/delete"), {})

    page = visitor.get(f"{OF_NIGHTLY}/{act}")

    assert "There is no job billing/nightly." in page.text
    assert not [each for each in RAW if each in text_of(page.text)]
    assert not http_statuses_in(page.text)


@pytest.mark.parametrize("version", ["", "x", "-1", "9" * 30, "\uff11"])
def test_a_job_is_deleted_only_at_a_version(visitor: Visitor, nightly: Stage, version: str) -> None:
    form = visitor.get(f"{OF_NIGHTLY}/delete")

    assert visitor.submit(form, {"version": version}).status == 412
    assert visitor.get(OF_NIGHTLY).status == 200


def test_a_confirmation_is_a_dialog_if_htmx_asks(visitor: Visitor, nightly: Stage) -> None:
    part = visitor.part(f"{OF_NIGHTLY}/delete")

    assert "<html" not in part
    assert part.lstrip().startswith("<h1>Delete billing/")


# Webhook secrets


def test_secrets_are_listed_and_deleted_and_never_shown(visitor: Visitor, nightly: Stage) -> None:
    secret = (nightly.create_webhook_secret("billing", {})[1] or {})["secret"]
    newest = nightly.create_webhook_secret("billing", {})[1] or {}

    page = visitor.get("/services/billing/secrets")
    assert newest["secret_id"] in page.text
    assert "sjm --stage test secrets create billing" in page.text
    assert secret not in page.text
    form = visitor.get(f"/services/billing/secrets/{newest['secret_id']}/delete")
    assert visitor.submit(form, {}).status == 409
    assert "The secret is deleted." in visitor.submit(form, {"force": "yes"}).text
    assert newest["secret_id"] not in visitor.get("/services/billing/secrets").text


def test_a_job_in_a_time_zone_shows_its_next_times_by_its_clock(visitor: Visitor, stage: Stage) -> None:
    timing = {"schedule": "at(2190-12-24T18:00:00)", "time_zone": "Asia/Kathmandu"}
    stage.put_job("billing", "once", {**timing, "invocation_type": "sns"}, {})
    page = text_of(visitor.get("/jobs/billing/once").text)

    assert "once, on 2190-12-24 at 18:00 Asia/Kathmandu" in page
    assert "Fri 2190-12-24 18:00 Asia/Kathmandu" in page
    assert "once, on 2190-12-24 at 18:00 Asia/Kathmandu" in text_of(visitor.get("/schedules").text)


def test_a_completed_job_says_so(visitor: Visitor, stage: Stage) -> None:
    once = {"schedule": "at(2026-01-01T00:00:00)", "invocation_type": "sns"}
    stage.put_job("billing", "once", once, {})
    stage.change("billing", "once", completed_at="2026-01-01T00:20:00Z")
    page = text_of(visitor.get("/jobs/billing/once").text)

    assert "completed" in page
    assert "Never again: it was completed" in page
    assert "completed" in text_of(visitor.get("/jobs").text)
