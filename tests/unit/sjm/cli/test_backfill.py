"""``sjm jobs backfill``: shows the times, asks, and starts what it has shown."""

import json
from typing import Any

import pytest

from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

FOUND: dict[str, Any] = example_answer("backfill_job")
NAME = "billing/nightly"


def test_the_times_are_shown_before_it_asks(sjm: Sjm, server: StandIn) -> None:
    refused = sjm("jobs", "backfill", NAME, "--since", "2026-11-01")

    assert refused.code == 2
    assert "Start 1 execution of billing/nightly?" in refused.err
    assert refused.out.splitlines()[1].split() == [
        "2026-11-19T02:00:00+01:00",
        "2026-11-19T01:00:00Z",
        "20261119T010000Z",
    ]
    assert [each.body["dry_run"] for each in server.received] == [True]


def test_what_was_shown_is_started(sjm: Sjm, server: StandIn) -> None:
    done = sjm("jobs", "backfill", NAME, "--since", "2026-11-01T00:00Z", "--yes")
    rehearsal, start = server.received

    assert (rehearsal.path, start.path) == ("/apis/a1/services/billing/jobs/nightly/backfill",) * 2
    assert "until" not in rehearsal.body
    assert (start.body["until"], start.body["dry_run"]) == (FOUND["until"], False)
    assert start.body["only_missed"] is True
    assert done.err == f"1 execution of {NAME} are being started: backfill {FOUND['backfill_id']}.\n"


def test_a_dry_run_and_what_is_left(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body={**FOUND, "next_since": "2026-11-20T01:00:00Z"}))
    done = sjm("jobs", "backfill", NAME, "--since", "30d", "--dry-run", "-o", "json")

    assert json.loads(done.out)["times"] == FOUND["times"]
    assert "Without --dry-run, 1 execution would be started." in done.err
    assert "Go on with --since 2026-11-20T01:00:00Z" in done.err
    assert len(server.received) == 1


def test_nothing_missed_starts_nothing(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body={**FOUND, "count": 0, "times": []}))
    done = sjm("jobs", "backfill", NAME, "--since", "30d", "--yes")

    assert (done.code, len(server.received)) == (0, 1)
    assert f"{NAME} has missed nothing" in done.err + done.out


def test_all_times_need_an_end_and_may_have_a_key(sjm: Sjm, server: StandIn) -> None:
    assert "--until" in sjm("jobs", "backfill", NAME, "--since", "7d", "--all-times").err
    line = ("--since", "2026-11-01", "--until", "2026-11-08", "--all-times", "--idempotency-key", "again")
    sjm("jobs", "backfill", NAME, *line, "--yes")

    assert [each.body["only_missed"] for each in server.received] == [False, False]
    assert [each.headers["idempotency-key"] for each in server.received] == ["again", "again"]


@pytest.mark.parametrize("line", ["--since soon", ""])
def test_a_mistake_is_refused_before_anything_is_sent(sjm: Sjm, server: StandIn, line: str) -> None:
    assert sjm("jobs", "backfill", NAME, *line.split()).code == 2
    assert server.received == []
