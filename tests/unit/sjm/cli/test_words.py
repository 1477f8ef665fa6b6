"""Times, names, and text of others: how they are read and written."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.core import names as names_of_the_manager
from sjm.cli import times
from sjm.cli.names import JobName, job_name, named, short_id
from sjm.cli.output import json_text
from sjm.cli.printable import printable, printable_line
from sjm.cli.times import parse_time
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
HOSTILE = "\x1b[2J\x1b]0;mine\x07\r\u202egnp.exe\u2066\u200b\x9b31m\u2028<script>\x7f"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-23T07:30:00"),
        ("90s", "2026-11-23T09:28:30"),
        ("7d", "2026-11-16T09:30:00"),
        ("now", "2026-11-23T09:30:00"),
        ("today", "2026-11-22T23:00:00"),
        ("yesterday", "2026-11-21T23:00:00"),
        ("2026-07-01", "2026-06-30T22:00:00"),
        ("2026-07-01T03:00", "2026-07-01T01:00:00"),
        ("2026-07-01 03:00:05", "2026-07-01T01:00:05"),
        ("2026-07-01T03:00:00Z", "2026-07-01T03:00:00"),
        ("2026-07-01T03:00:00-05:00", "2026-07-01T08:00:00"),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, expected: str) -> None:
    found = parse_time(text, "past", NOW, BERLIN)

    assert found.isoformat() == f"{expected}+00:00"
    assert parse_time(text, "past", NOW) == found  # the zone of this machine is Berlin


def test_a_span_may_point_to_the_future() -> None:
    assert parse_time("2h", "future", NOW) == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    "text",
    ["", "2", "2y", "-2h", "2 h", "soon", "999999d", "2026-13-01", "20261123", "9999-12-31T23:59-23:59"],
)
def test_what_is_no_time_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="Expected a span such as 30m"):
        parse_time(text, "past", NOW)


def test_a_time_is_shown_in_your_zone_or_in_utc() -> None:
    assert times.shown(NOW, utc=False) == "2026-11-23 10:30:00 CET"
    assert times.shown(NOW, utc=True) == "2026-11-23 09:30:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (42.3, "42 s"), (185, "3 min 5 s"), (3600, "1 h"), (273_600, "3 d 4 h")],
)
def test_a_span_is_shown_in_two_units(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


def test_the_ids_are_those_of_the_manager() -> None:
    guid = names_of_the_manager.job_guid("billing", "nightly")
    whole = names_of_the_manager.execution_id(guid, 1_795_399_200_000, "5f3a9c01")
    job = JobName("billing", "nightly")

    assert short_id(whole) == "20261123T020000Z-5f3a9c01"
    assert job.execution_id(short_id(whole)) == job.execution_id(whole) == whole
    assert short_id("something else") == "something else"
    with pytest.raises(click.BadParameter, match="is not an execution"):
        job.execution_id("../pause")


@pytest.mark.parametrize("text", ["billing", "billing/", "/nightly", "a/b/c", "../b", "a/..", "", "/"])
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="Expected SERVICE/JOB, such as billing/nightly"):
        job_name(text)


def test_services_and_jobs_are_not_mixed() -> None:
    assert named(["a", "b"]) == (["a", "b"], [])
    assert named(["a/b"]) == ([], [JobName("a", "b")])
    with pytest.raises(click.UsageError, match="only services, or only jobs"):
        named(["a", "b/c"])


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_nothing_that_a_terminal_obeys_is_written(text: str) -> None:
    line = printable_line(text)

    assert {
        each for each in printable(text) if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } <= {
        "\n",
        "\t",
    }
    assert "\n" not in line
    assert "\t" not in line
    assert json_text(text, None).isprintable()
    assert json.loads(json_text(text, None)) == text


def test_what_services_wrote_is_harmless_in_each_view(sjm: Sjm, server: StandIn) -> None:
    whole = example_answer("get_execution")
    hostile = {
        **whole,
        "status": "fail",
        "error": HOSTILE,
        "cause": HOSTILE,
        "summary": HOSTILE,
        "payload": HOSTILE,
        "attempts": [{"attempt": 1, "status": "fail", "summary": HOSTILE, "error": {"name": HOSTILE}}],
    }
    job = {**example_answer("get_job"), "owner": HOSTILE, "description": HOSTILE, "tags": {HOSTILE: HOSTILE}}
    listed = {name: value for name, value in hostile.items() if name not in ("payload", "state", "attempts")}
    problem = {"type": "about:blank", "title": HOSTILE, "detail": HOSTILE}
    server.replies += [
        Reply(body={"results": [listed], "paging": {}}),
        Reply(body=hostile),
        Reply(body=hostile),
        Reply(body=job),
        Reply(400, problem),
    ]
    texts = [
        sjm(*line.split())
        for line in (
            "executions list",
            "executions show a/b 20261123T020000Z",
            "executions watch a/b 20261123T020000Z",
            "jobs show a/b",
            "jobs show a/b",
        )
    ]

    for done in texts:
        assert "gnp.exe" in done.out + done.err
        assert (done.out + done.err).replace("\n", "").isprintable(), done
