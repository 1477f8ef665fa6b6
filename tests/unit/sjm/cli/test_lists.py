"""Lists: as tables, as JSON, with limits, page by page."""

import io
import json
from typing import Any

import pytest

from sjm.cli.output import Column, Output, console_of
from sjm.cli.tables import Table
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

JOB: dict[str, Any] = example_answer("list_jobs")["results"][0]
EXECUTION: dict[str, Any] = example_answer("list_executions")["results"][0]


def page(*results: Any, more: str | None = None) -> Reply:
    return Reply(body={"results": list(results), "paging": {} if more is None else {"more": more}})


def jobs(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{**JOB, "job_name": f"j{n}"} for n in range(first, first + count)]


def test_a_table_has_a_row_for_each_job(sjm: Sjm, server: StandIn) -> None:
    paused = {**JOB, "job_name": "hourly", "paused": {"reason": "", "paused_at": "", "paused_by": ""}}
    server.replies.append(page(JOB, paused, {**JOB, "job_name": "old", "enabled": False}))
    done = sjm("jobs", "list")
    title, *rows = done.out.splitlines()

    assert title.split() == ["JOB", "SCHEDULE", "STATE", "LAST", "OWNER"]
    assert [row.split()[0] for row in rows] == ["billing/nightly", "billing/hourly", "billing/old"]
    assert [row[title.index("STATE") :].split()[0] for row in rows] == ["enabled", "paused", "disabled"]
    assert "success 2026-11-23 03:00:43 CET" in rows[0]
    assert "\x1b" not in done.out


def test_a_pipe_cuts_nothing(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(page({**JOB, "owner": "o" * 200}))

    assert "o" * 200 in sjm("jobs", "list").out


def test_an_empty_table_is_a_message_and_empty_json_is_json(sjm: Sjm, server: StandIn) -> None:
    server.replies += [page(), page(), page()]

    assert sjm("jobs", "list").err == "There are no such jobs.\n"
    assert json.loads(sjm("jobs", "list", "-o", "json").out) == []
    assert sjm("jobs", "list", "-o", "jsonl").out == ""


@pytest.mark.parametrize("arguments", [("-o", "json", "jobs", "list"), ("jobs", "list", "--output", "json")])
def test_json_is_one_array_of_what_the_api_has(sjm: Sjm, server: StandIn, arguments: tuple[str, ...]) -> None:
    server.replies += [page(*jobs(2), more="2"), page(*jobs(1, 2))]

    assert json.loads(sjm(*arguments).out) == jobs(3)


def test_first_rows_come_before_the_last_page_is_read(server: StandIn, capsys: Any) -> None:
    read: list[str] = []

    def results() -> Any:
        for job in jobs(3):
            read.append(capsys.readouterr().out)
            yield job

    Output("jsonl").rows(results(), [], "")

    assert [json.loads(text)["job_name"] for text in read[1:]] == ["j0", "j1"]


@pytest.mark.parametrize(("limit", "asked"), [(3, "4"), (500, "100")])
def test_a_limit_is_of_all_pages_and_reads_no_more_than_it_needs(
    sjm: Sjm, server: StandIn, limit: int, asked: str
) -> None:
    server.replies += [page(*jobs(2), more="2"), page(*jobs(2, 2), more="4"), page(*jobs(2, 4))]
    done = sjm("jobs", "list", "--limit", str(limit), "-o", "jsonl")

    assert len(done.out.splitlines()) == min(limit, 6)
    assert dict(server.received[0].query)["limit"] == asked
    assert (len(server.received), "more than 3" in done.err) == ((2, True) if limit == 3 else (3, False))


def test_executions_have_a_limit_that_all_removes(sjm: Sjm, server: StandIn) -> None:
    many = [{**EXECUTION, "started_at_ms": n} for n in range(101)]
    server.replies += [page(*many), page(*many)]
    limited, every = (
        sjm("executions", "list", "-o", "jsonl"),
        sjm("executions", "list", "-o", "jsonl", "--all"),
    )

    assert (len(limited.out.splitlines()), len(every.out.splitlines())) == (100, 101)
    assert limited.err == "There are more than 100. Pass --limit N, or --all.\n"
    assert every.err == ""


def test_an_execution_says_why(sjm: Sjm, server: StandIn) -> None:
    failed = {**EXECUTION, "status": "fail", "error": {"name": "Ledger", "line": 7}, "cause": "no\nrow"}
    running = {**EXECUTION, "status": "running", "progress": 73.5, "summary": "312 of 400"}
    server.replies.append(page(failed, example_answer("list_executions")["results"][1], running))
    rows = sjm("executions", "list").out.splitlines()[1:]

    assert rows[0].endswith(r"Ledger: no\nrow: 312 invoices")
    assert "lock_held: the lock is held by" in rows[1]
    assert rows[2].endswith("73.5% 312 of 400")


def test_what_waits_has_no_start_but_a_reason(sjm: Sjm, server: StandIn) -> None:
    waiting = {
        **example_answer("list_executions")["results"][1],
        "status": "waiting",
        "waiting_since_ms": 1795399200455,
    }
    server.replies.append(page(waiting))
    (row,) = sjm("executions", "list").out.splitlines()[1:]

    assert "waiting  " in row
    assert "since 2026-11-23 03:00:00 CET lock_held: the lock is held by 97cc" in row
    assert row.count("2026-11-23") == 1


SELECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "executions list": ("/executions", {}),
    "executions list billing": ("/services/billing/executions", {}),
    "executions list --service billing --service shop": ("/executions", {"service_name": "billing,shop"}),
    "executions list billing/nightly": ("/services/billing/jobs/nightly/executions", {}),
    "executions list --job billing/nightly --failed": (
        "/services/billing/jobs/nightly/executions",
        {"status": "fail,timeout"},
    ),
    "executions list a/b c/d": (
        "/executions",
        {"job_guid": "6d4d8c45-817b-5806-84d5-2b4247da6db5,a4c06031-53de-52cd-9f18-ff5608d29d46"},
    ),
    "executions list --reason lock_held --by started_at": (
        "/executions",
        {"reason": "lock_held", "by": "started_at"},
    ),
    "executions list --since 2026-11-23 --until 2026-11-24T03:00": (
        "/executions",
        {"since": "2026-11-22T23:00:00+00:00", "until": "2026-11-24T02:00:00+00:00"},
    ),
    "executions list --since 2026-11-23 --utc": ("/executions", {"since": "2026-11-23T00:00:00+00:00"}),
    "jobs list billing --tag team=payments": ("/services/billing/jobs", {"tags[team]": "payments"}),
    "jobs list billing shop --owner ann": ("/jobs", {"service_name": "billing,shop", "owner": "ann"}),
    "schedules list": ("/schedules", {}),
}


@pytest.mark.parametrize("line", SELECTIONS)
def test_a_selection_is_asked_for_where_it_needs_the_fewest_rights(
    sjm: Sjm, server: StandIn, line: str
) -> None:
    path, query = SELECTIONS[line]
    done = sjm(*line.split())
    sent = dict(server.received[0].query)
    sent.pop("limit")

    assert done.code == 0, done.err
    assert (server.received[0].path, sent) == (f"/apis/a1{path}", query)


def test_the_schedule_that_fires_next_may_come_first(sjm: Sjm, server: StandIn) -> None:
    def schedule(name: str, *fire_times: str) -> dict[str, Any]:
        return {
            "schedule_key": name,
            "schedule": name,
            "time_zone": "UTC",
            "trigger_type": "rule",
            "job_count": 1,
            "rule": "in step",
            "next_fire_times": list(fire_times) or None,
        }

    server.replies.append(
        page(
            schedule("rate(5 minutes)"),
            schedule("b", "2026-11-24T02:00:00Z"),
            schedule("a", "2026-11-24T01:00:00Z"),
        )
    )
    rows = sjm("schedules", "list", "--by-time").out.splitlines()[1:]

    assert [row.split()[0] for row in rows] == ["a", "b", "rate(5"]


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def table_on(width: int, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = Terminal()
    console = console_of(file)
    console.width = width
    columns = [
        Column("name", lambda row: row[0], whole=True, style=lambda row: "red"),
        Column("text", lambda row: row[1]),
    ]
    rows = [("short", "x" * 100), ("a longer one", "y")]
    table = Table(console, columns, rows)
    for row in rows:
        table.write(row)
    return file.getvalue()


def test_a_narrow_terminal_cuts_what_may_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = table_on(30, monkeypatch, NO_COLOR="1")

    assert [len(line) for line in text.splitlines()][1] == 30
    assert "a longer one" in text
    assert "x…" in text


def test_a_terminal_has_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m" in table_on(80, monkeypatch)
    assert "[31m" not in table_on(80, monkeypatch, NO_COLOR="1")
