"""The page of a backfill asks for the time, shows what was missed, and starts it once that is confirmed."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from sjm.client import Job
from tests.unit.sjm.console.stage_server import StageServer
from tests.unit.sjm.console.visitor import Visitor, text_of

HOURLY: Job = {"schedule": "cron(0 * * * ? *)", "invocation_type": "sns"}
PAGE = "/jobs/billing/hourly/backfill"


def ago(**span: int) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="minutes")


def put(server: StageServer) -> None:
    with server.manager() as manager:
        manager.put_job("billing", "hourly", HOURLY)


def test_what_was_missed_is_shown_and_started_when_it_is_confirmed(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server)
    assert f'href="{PAGE}"' in visitor.get("/jobs/billing/hourly").text
    span = {"since": ago(hours=4), "until": ago(minutes=1)}
    shown = visitor.submit(visitor.get(PAGE), span)
    assert re.search(r"Start [34] executions of billing/hourly\?", text_of(shown.text))
    with stage_server.manager() as manager:
        assert list(manager.list_executions_of_job("billing", "hourly")) == []
        done = visitor.submit(shown, {})
        assert re.search(r"[34] executions started, oldest first\.", text_of(done.text))
        started = list(manager.list_executions_of_job("billing", "hourly"))
    assert {each["backfill_of"]["backfill_id"] for each in started} == {"3f9a01c27be4"}
    run = f"/jobs/billing/hourly/executions/{started[0]['execution_id']}"
    assert "3f9a01c27be4" in visitor.get(run).text
    again = visitor.submit(visitor.get(PAGE), span)
    assert "billing/hourly has missed nothing" in text_of(again.text)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Since when?"),
        ({"since": "soon"}, "Since when?"),
        ({"since": "2026-11-01T00:00", "until": "2026-10-01T00:00"}, "Until when?"),
        ({"since": "2026-11-01T00:00", "until": "2199-10-01T00:00"}, "not in the future"),
    ],
)
def test_a_mistake_is_told_beside_what_was_written(
    visitor: Visitor, stage_server: StageServer, fields: dict[str, str], sentence: str
) -> None:
    put(stage_server)
    page = visitor.submit(visitor.get(PAGE), fields)
    assert page.status == 400
    assert sentence in text_of(page.text)
    assert all(f'value="{value}"' in page.text for value in fields.values())


def test_a_job_that_does_not_exist_has_no_backfill(visitor: Visitor, stage_server: StageServer) -> None:
    assert "There is no job" in text_of(visitor.get(PAGE).text)
