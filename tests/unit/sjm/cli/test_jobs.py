"""``sjm jobs``: a change keeps what it does not name, deletes ask, runs take payloads."""

import io
import json
import sys
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from sjm.client import Job
from sjm.review.fields import SAVED as FIELDS
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.review.test_fields import JOB
from tests.unit.sjm.small_stage import SmallStage
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer, serving

SAVED: dict[str, Any] = {
    **example_answer("get_job"),
    "retry": {"max_attempts": 3, "on": ["fail"]},
    "tags": {"team": "payments", "tier": "1"},
}
KEPT = {name: SAVED[name] for name in FIELDS if name in SAVED and name != "exclusive"}
NOT_FOUND = Reply(
    404, {"type": "/problems/not-found", "title": "Not found", "detail": "There is no job a/b."}
)


def test_the_fields_are_those_of_the_client() -> None:
    assert set(FIELDS) | {"test_invocation"} == Job.__annotations__.keys() | {"async"}


CHANGES: dict[str, dict[str, Any]] = {
    "--ttl-seconds 600": {"ttl_seconds": 600},
    "--disabled --not-exclusive --sync": {
        "enabled": False,
        "exclusive": False,
        "overlap": None,
        "async": False,
    },
    "--overlap queue_one": {"overlap": "queue_one"},
    "--unset overlap": {"overlap": None},
    "--unset exclusive": {"overlap": None},
    "--retry-max-attempts 5": {"retry": {"max_attempts": 5, "on": ["fail"]}},
    "--retry-on timeout --retry-backoff-rate 1.5": {
        "retry": {"max_attempts": 3, "on": ["timeout"], "backoff_rate": 1.5}
    },
    "--tag team=ledger --tag a=b=c --untag tier": {"tags": {"team": "ledger", "a": "b=c"}},
    "--unset owner --unset retry": {"owner": None, "retry": None},
    "--type sns": {"invocation_type": "sns", "invocation_target": None},
    "--target arn:aws:sns:eu-central-1:111122223333:t": {
        "invocation_type": "sns",
        "invocation_target": "arn:aws:sns:eu-central-1:111122223333:t",
    },
    "--no-test --owner ann": {"owner": "ann", "test_invocation": False},
    "--payload 7": {"payload": "7"},
    "--limit db-main --warn-after-seconds 600": {"limit": "db-main", "warn_after_seconds": 600},
    "--catch-up all --catch-up-window-seconds 3600 --spread-seconds 300": {
        "catch_up": "all",
        "catch_up_window_seconds": 3600,
        "spread_seconds": 300,
    },
    "--after invoices:fail,timeout --after payments": {
        **dict.fromkeys(("schedule", "time_zone", "start_at", "end_at", "catch_up", "spread_seconds")),
        "after": [{"job": "invoices", "on": ["fail", "timeout"]}, {"job": "payments", "on": ["success"]}],
    },
}


@pytest.mark.parametrize("line", CHANGES)
def test_a_change_keeps_the_fields_that_it_does_not_name(sjm: Sjm, server: StandIn, line: str) -> None:
    server.replies.append(Reply(body=SAVED))
    done = sjm("jobs", "set", "billing/nightly", *line.split())
    read, *looked_at, put = server.received
    expected = {name: value for name, value in {**KEPT, **CHANGES[line]}.items() if value is not None}

    assert (done.code, read.method, put.method) == (0, "GET", "PUT"), done.err
    assert {each.method for each in looked_at} == {"GET"}
    assert put.headers["if-match"] == f'"{SAVED["version"]}"'
    assert put.body == expected
    assert "billing/nightly is changed" in done.err


class _OnASunday(datetime):
    """A year from a Sunday on has 260 weekdays. From a weekday on it has one more."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_OnASunday":
        return cls(2026, 11, 29, 12, tzinfo=tz)


class TestReview:
    """Changes are reviewed as ``sjm apply`` does, before they are made."""

    @pytest.fixture(autouse=True)
    def today(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sjm.review.apply.datetime", _OnASunday)

    @pytest.fixture
    def server(self) -> Iterator[SmallStage]:
        with serving(SmallStage()) as stage:
            stage.put("billing/nightly", {**JOB, "owner": "ann", "workflow_type": "express"})
            stage.others = {"cron(0 2 ? * MON-FRI *)": 4}
            yield stage

    def test_a_dry_run_shows_it_and_does_nothing(self, sjm: Sjm, server: SmallStage) -> None:
        line = ("jobs", "set", "billing/nightly", "--schedule", "cron(0 2 ? * MON-FRI *)", "--unset", "owner")
        done = sjm(*line, "--dry-run")
        document = json.loads(sjm(*line, "--dry-run", "-o", "json").out)

        assert done.out.splitlines()[:3] == [
            "~ billing/nightly changes",
            '    schedule: "cron(0 2 * * ? *)" → "cron(0 2 ? * MON-FRI *)"',
            "    owner: ann → none",
        ]
        assert "[none on Sat, Sun]" in done.out.splitlines()[3]
        assert done.out.splitlines()[4].startswith("    beside: 4 other jobs in the minute of ")
        assert "$0.0005 → $0.0003 a month, about 21.7 executions" in done.out.splitlines()[5]
        assert done.err == "Nothing was done.\n"
        assert document["neighbours"]["jobs"] == 4
        assert server.requests("PUT") == []

    def test_a_default_that_only_the_stage_knows_is_told_and_set(self, sjm: Sjm, server: SmallStage) -> None:
        done = sjm("jobs", "set", "billing/nightly", "--unset", "workflow_type")

        assert '    workflow_type: express → "the stage\'s default"\n' in done.out
        assert server.jobs["billing/nightly"]["workflow_type"] == "standard"

    def test_it_is_shown_before_anything_is_changed(self, sjm: Sjm, server: SmallStage) -> None:
        sjm("jobs", "set", "billing/nightly", "--ttl-seconds", "600")

        assert [(each.method, each.path.rpartition("/")[2]) for each in server.received] == [
            ("GET", "nightly"),
            ("GET", "preview"),
            ("GET", "schedules"),
            ("PUT", "nightly"),
        ]

    def test_what_the_caller_may_not_read_is_told_and_stops_nothing(
        self, sjm: Sjm, server: SmallStage
    ) -> None:
        server.forbidden = {"/schedules", "/schedules/preview"}
        done = sjm("jobs", "set", "billing/nightly", "--ttl-seconds", "600")

        assert done.code == 0
        assert done.err.count("Not known: ") == 2
        assert server.jobs["billing/nightly"]["ttl_seconds"] == 600

    def test_a_schedule_that_is_wrong_changes_nothing(self, sjm: Sjm, server: SmallStage) -> None:
        done = sjm("jobs", "set", "billing/nightly", "--schedule", "cron(99 2 * * ? *)")

        assert (done.code, done.out) == (10, "")
        assert "  /schedule: " in done.err
        assert server.requests("PUT") == []

    def test_another_spelling_of_the_same_schedule_is_no_change(self, sjm: Sjm, server: SmallStage) -> None:
        server.put("billing/nightly", {**JOB, "schedule": "rate(1 hour)"})
        done = sjm("jobs", "set", "billing/nightly", "--schedule", "rate(60 minutes)")

        assert (done.code, done.err) == (0, "billing/nightly is like that already.\n")
        assert server.requests("PUT") == []


def test_no_change_sends_nothing(sjm: Sjm, server: StandIn) -> None:
    assert sjm("jobs", "set", "billing/nightly", "--ttl-seconds", "300").err == (
        "billing/nightly is like that already.\n"
    )
    assert [each.method for each in server.received] == ["GET"]


def test_a_new_job_replaces_none_that_others_made_meanwhile(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(NOT_FOUND)
    done = sjm("jobs", "set", "a/b", "--schedule", "rate(5 minutes)", "--target", "https://a.example/b")
    put = server.received[-1]

    assert done.code == 0
    assert put.headers["if-none-match"] == "*"
    assert put.body == {
        "schedule": "rate(5 minutes)",
        "invocation_type": "http",
        "invocation_target": "https://a.example/b",
    }
    assert "a/b is created" in done.err


def test_a_job_of_a_chain_gets_a_schedule_instead(sjm: Sjm, server: StandIn) -> None:
    chained = {name: value for name, value in SAVED.items() if name != "schedule"}
    server.replies.append(Reply(body={**chained, "after": [{"job": "invoices", "on": ["success"]}]}))
    done = sjm("jobs", "set", "billing/nightly", "--schedule", "rate(1 hour)")
    put = server.received[-1]

    assert (done.code, put.method) == (0, "PUT"), done.err
    assert put.body["schedule"] == "rate(1 hour)"
    assert "after" not in put.body


def test_a_new_job_of_a_chain_needs_no_schedule(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(NOT_FOUND)
    done = sjm("jobs", "set", "a/b", "--after", "c")

    assert done.code == 0, done.err
    assert server.received[-1].body == {
        "after": [{"job": "c", "on": ["success"]}],
        "invocation_type": "sns",
    }


REFUSED_CHANGES = {
    "--schedule rate(1hour) --new": (Reply(body=SAVED), 10, "exists, at version 1"),
    "--ttl-seconds 60": (NOT_FOUND, 2, "Expected --schedule"),
    "--ttl-seconds 60 --if-version 3": (NOT_FOUND, 10, "There is no job a/b."),
    "--untag nothing": (Reply(body=SAVED), 2, "there is no tag nothing"),
    "--tag nothing": (None, 2, "Expected NAME=VALUE"),
    "--retry-backoff-rate nan": (None, 2, "expected a number"),
    "--overlap replace": (None, 2, "'replace' is not one of"),
    "--catch-up some": (None, 2, "'some' is not one of"),
    "--after invoices --schedule rate(1hour)": (Reply(body=SAVED), 2, "either --schedule or --after"),
    "--after :fail": (None, 2, "':fail' is no job"),
    "--after invoices:": (None, 2, "'invoices:' is no job"),
    "--ttl-seconds soon": (None, 2, "'soon' is not a valid integer"),
    "--unset schedule": (None, 2, "'schedule' is not one of"),
    "--payload a --payload-file /dev/null": (None, 2, "either --payload or --payload-file"),
}


@pytest.mark.parametrize("line", REFUSED_CHANGES)
def test_a_change_that_cannot_be_is_refused_with_a_sentence(sjm: Sjm, server: StandIn, line: str) -> None:
    reply, code, sentence = REFUSED_CHANGES[line]
    if reply:
        server.replies.append(reply)
    done = sjm("jobs", "set", "a/b", *line.split())

    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert "PUT" not in {each.method for each in server.received}


def test_a_warning_of_the_api_is_shown(sjm: Sjm, server: StandIn) -> None:
    warning = {"code": "never_fires", "detail": "the schedule never fires again"}
    never = {"schedule": "cron(0 0 31 2 ? *)", "fire_times": []}
    replies = [NOT_FOUND, Reply(body=never), Reply(body=example_answer("list_schedules"))]
    server.replies += [*replies, Reply(201, {**SAVED, "warnings": [warning]})]
    done = sjm("jobs", "set", "a/b", "--schedule", "cron(0 0 31 2 ? *)")

    assert "Warning: the schedule never fires again (never_fires)\n" in done.err


def test_a_delete_needs_yes_where_nobody_can_answer(sjm: Sjm, server: StandIn) -> None:
    refused = sjm("jobs", "delete", "billing/nightly")
    deleted = sjm("jobs", "delete", "billing/nightly", "--yes")

    assert (refused.code, deleted.code) == (2, 0)
    assert "Delete billing/nightly, cron(0 2 * * ? *), at version 1?" in refused.err
    assert "--yes" in refused.err
    assert [each.method for each in server.received] == ["GET", "GET", "DELETE"]
    assert server.received[-1].headers["if-match"] == '"1"'


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_a_delete_asks_on_a_terminal(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard(answer))
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    done = sjm("jobs", "delete", "billing/nightly")

    assert done.code == code
    assert "[y/N]" in done.err
    assert ("DELETE" in [each.method for each in server.received]) == (code == 0)


def test_a_run_passes_the_payload_on_unchanged(sjm: Sjm, server: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "payload"
    file.write_bytes('{"ä": 7}\r\n'.encode())
    done = sjm("jobs", "run", "billing/nightly", "--payload-file", str(file), "--idempotency-key", "k-1")

    assert done.out == "billing/nightly 20261123T091500Z-5f3a9c01 is running.\n"
    assert server.received[0].body == {"payload": '{"ä": 7}\r\n'}
    assert server.received[0].headers["idempotency-key"] == "k-1"
    file.write_bytes(b"\xff\xfe")
    refused = sjm("jobs", "run", "billing/nightly", "--payload-file", str(file))
    assert refused.code == 2
    assert "is not text in UTF-8: byte 0 does not fit" in refused.err


def test_a_pause_has_a_reason_and_perhaps_an_end(sjm: Sjm, server: StandIn) -> None:
    sjm("jobs", "pause", "a/b", "--reason", "migration", "--until", "2099-12-01T06:00")
    refused = sjm("jobs", "pause", "a/b")
    sjm("jobs", "resume", "a/b")

    assert server.received[0].body == {"reason": "migration", "until": "2099-12-01T05:00:00+00:00"}
    assert (refused.code, "--reason" in refused.err) == (2, True)
    assert server.received[1].path.endswith("/a/jobs/b/resume")


def test_a_job_shows_who_holds_its_lock_and_why_it_is_paused(sjm: Sjm, server: StandIn) -> None:
    paused = {"reason": "migration", "until": "2026-12-01T06:00:00Z", "paused_at": "…", "paused_by": "ann"}
    held = {
        "lock_execution": f"{SAVED['job_guid']}-20261123T020000Z",
        "lock_expires_at": "2026-11-23T02:05:00Z",
    }
    fires = {"next_fire_times": ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"]}
    server.replies += [Reply(body={**SAVED, "paused": paused, **held, **fires})] * 2
    lines = sjm("jobs", "show", "billing/nightly").out.splitlines()
    document = json.loads(sjm("jobs", "show", "billing/nightly", "-o", "json").out)

    found = {line.split("  ")[0]: line.rpartition("  ")[2].strip() for line in lines}
    assert found["state"] == "paused until 2026-12-01 07:00:00 CET: migration (by ann)"
    assert found["running"] == "20261123T020000Z (until 2026-11-23 03:05:00 CET)"
    assert found["next"] == "2026-11-24 03:00:00 CET (2026-11-24 02:00:00 UTC)"
    assert document["paused"] == paused


def test_a_target_is_tested(sjm: Sjm, server: StandIn) -> None:
    problem = {
        "type": "/problems/target-test-failed",
        "title": "The target failed its test",
        "detail": "It answered 503.",
        "seen": {"http_status": 503, "duration_ms": 12},
    }
    good = sjm("jobs", "test", "billing/nightly")
    server.replies.append(Reply(422, problem))
    bad = sjm("jobs", "test", "billing/nightly")

    assert (
        good.out
        == "https://billing.example/jobs/nightly takes notifications: http_status 200, duration_ms 12\n"
    )
    assert (bad.code, bad.out) == (10, "")
    assert bad.err == "Error: It answered 503. (422)\n  seen: http_status 503, duration_ms 12\n"
