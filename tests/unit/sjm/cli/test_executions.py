"""``sjm executions``: show, watch, cancel, and rerun one or many."""

import json
from typing import Any

import pytest

from sjm.cli.following import LONGEST_WAIT_SECONDS, PATIENCE_SECONDS, until_end
from sjm.client import Execution, Forbidden, NoAnswer, Throttled, UnexpectedAnswer
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

RUNNING: dict[str, Any] = example_answer("start_execution")
WAITING: dict[str, Any] = {
    **RUNNING,
    "status": "waiting",
    "reason": {"code": "lock_held", "detail": "the lock is held by 97cc"},
    "waiting_since_ms": RUNNING["started_at_ms"],
}
ENDED: dict[str, Any] = example_answer("get_execution")
LISTED: dict[str, Any] = example_answer("list_executions")["results"][0]
NAME = "billing/nightly"
SHORT = "20261123T020000Z"


def listed(count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Executions of one job that failed, newest first."""
    return [
        {
            **LISTED,
            "status": "fail",
            "execution_id": f"{LISTED['job_guid']}-20261123T02{minute:02}00Z",
            **fields,
        }
        for minute in reversed(range(count))
    ]


def page(*results: Any) -> Reply:
    return Reply(body={"results": list(results), "paging": {}})


def test_without_a_name_the_newest_is_shown(sjm: Sjm, server: StandIn) -> None:
    done = sjm("executions", "show", NAME)

    assert [each.path.rpartition("/")[2] for each in server.received] == ["executions", ENDED["execution_id"]]
    assert f"execution           {ENDED['execution_id']}\n" in done.out
    server.replies.append(page())
    assert sjm("executions", "show", NAME).err == f"Error: {NAME} has no executions.\n"


def test_attempts_are_a_table(sjm: Sjm, server: StandIn) -> None:
    attempts = [
        {"attempt": 1, "status": "fail", "error": "Ledger", "cause": "no row"},
        {
            "attempt": 2,
            "status": "success",
            "service_invoked_at_ms": 1795399200812,
            "finished_at_ms": 1795399243120,
        },
    ]
    server.replies.append(Reply(body={**ENDED, "attempts": attempts}))
    rows = sjm("executions", "show", NAME, SHORT).out.partition("\n\n")[2].splitlines()

    assert rows[0].split() == ["ATTEMPT", "STATUS", "NOTIFIED", "TOOK", "WHY"]
    assert rows[1].endswith("Ledger: no row")
    assert rows[2].split()[:4] == ["2", "success", "2026-11-23", "03:00:00"]


def test_the_chain_of_the_newest_is_a_table_with_the_first_ones_first(sjm: Sjm, server: StandIn) -> None:
    parent = {**LISTED, "status": "success", "children": [ENDED["execution_id"]]}
    child = {
        **LISTED,
        "job_name": "report",
        "status": "running",
        "parents": [{"job": "nightly", "execution_id": LISTED["execution_id"], "status": "success"}],
    }
    chain = {"roots": [LISTED["execution_id"]], "executions": [parent, child], "is_cut": False}
    server.replies += [page(LISTED), Reply(body=chain)]
    done = sjm("executions", "chain", NAME)

    asked = [each.path.rpartition("/jobs/")[2] for each in server.received]
    assert asked == ["nightly/executions", f"nightly/executions/{LISTED['execution_id']}/chain"]
    rows = [line.split() for line in done.out.splitlines()]
    assert [row[0] for row in rows] == ["JOB", "billing/nightly", "billing/report"]
    assert [row[2] for row in rows[1:]] == ["success", "running"]
    assert (done.code, done.err) == (0, "")

    server.replies.append(Reply(body={**chain, "is_cut": True}))
    cut = sjm("executions", "chain", NAME, SHORT)
    assert (cut.out, cut.err) == (done.out, "The chain has more executions, which are not shown.\n")
    assert server.received[-1].path.endswith(f"-{SHORT}/chain")

    server.replies.append(Reply(body=chain))
    assert json.loads(sjm("executions", "chain", NAME, SHORT, "-o", "json").out) == chain
    server.replies.append(page())
    assert sjm("executions", "chain", NAME).err == f"Error: {NAME} has no executions.\n"


OUTCOMES = {"success": 0, "fail": 1, "timeout": 3, "cancelled": 4, "skipped": 5}


@pytest.mark.parametrize("status", OUTCOMES)
def test_the_exit_code_of_watch_is_the_outcome(sjm: Sjm, server: StandIn, status: str) -> None:
    server.replies.append(Reply(body={**ENDED, "status": status, "summary": "312 of 400"}))
    done = sjm("executions", "watch", NAME, SHORT)

    assert done.code == OUTCOMES[status]
    assert done.out == f"{status} after 42 s: 312 of 400\n"
    assert ("sjm executions rerun" in done.err) == (status in ("fail", "timeout"))


def test_a_run_that_is_followed_tells_each_change(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.cli.following.FIRST_WAIT_SECONDS", 0.01)
    notified = {**RUNNING, "service_invoked_at_ms": RUNNING["started_at_ms"] + 500}
    half = {**notified, "progress": 50, "summary": "200 of 400", "lock_expires_at": "2026-11-23T09:21:00Z"}
    beat = {**half, "lock_expires_at": "2026-11-23T09:22:00Z"}
    waits = {**beat, "next_attempt_at": "2026-11-23T09:25:00Z", "attempt": 1}
    second = {**notified, "attempt": 2}
    answers = [
        RUNNING,
        notified,
        half,
        half,
        beat,
        waits,
        second,
        {**ENDED, "status": "fail", "error": "Ledger"},
    ]
    server.replies += [Reply(201, answers[0]), *(Reply(body=each) for each in answers[1:])]
    done = sjm("jobs", "run", NAME, "--follow")
    told = [line.partition("  ")[2] for line in done.err.splitlines()[:-1]]

    assert done.code == 1
    assert done.out == "fail after 42 s: Ledger: 312 invoices\n"
    assert told == [
        "running  not notified yet",
        "running",
        "running  50%  200 of 400",
        "running  50%  200 of 400  heartbeat",
        "running  attempt 1 failed, the next is at 2026-11-23 10:25:00 CET  50%  200 of 400",
        "running  attempt 2",
        "fail",
    ]


def test_what_waits_is_followed_until_it_has_run(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.cli.following.FIRST_WAIT_SECONDS", 0.01)
    server.replies += [Reply(201, WAITING), Reply(body=WAITING), Reply(body=RUNNING), Reply(body=ENDED)]
    done = sjm("jobs", "run", NAME, "--follow")
    told = [line.partition("  ")[2] for line in done.err.splitlines()]

    assert done.code == 0
    assert told == [
        "waiting  since 2026-11-23 10:15:00 CET  lock_held: the lock is held by 97cc",
        "running  not notified yet",
        "success",
    ]


def test_a_run_that_waits_says_for_what(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(201, WAITING))
    done = sjm("jobs", "run", NAME)

    assert done.code == 0
    assert done.out.endswith(" is waiting: lock_held: the lock is held by 97cc.\n")


def test_what_waits_is_shown_with_the_time_since_when(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body=WAITING))
    lines = dict(line.split(maxsplit=1) for line in sjm("executions", "show", NAME, SHORT).out.splitlines())

    assert lines["waiting_since"] == "2026-11-23 10:15:00 CET"
    assert "started_at" not in lines


def test_json_of_what_is_followed(sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sjm.cli.following.FIRST_WAIT_SECONDS", 0.01)
    whole = sjm("jobs", "run", NAME, "--follow", "-o", "json")
    each = sjm("jobs", "run", NAME, "--follow", "-o", "jsonl")

    assert json.loads(whole.out) == ENDED
    assert [json.loads(line)["status"] for line in each.out.splitlines()] == ["running", "success"]


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def followed(answers: list[Any], clock: Clock) -> tuple[Execution, list[Exception]]:
    first: Any = RUNNING
    troubles: list[Exception] = []

    def read() -> Execution:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        execution: Execution = found
        return execution

    def ignore(execution: Execution) -> None:
        pass

    return until_end(first, read, ignore, troubles.append, clock.sleep, lambda: clock.now), troubles


def test_it_looks_less_often_while_nothing_changes() -> None:
    clock = Clock()
    followed([RUNNING] * 6 + [{**RUNNING, "progress": 1}, {**RUNNING, "progress": 1}, ENDED], clock)

    assert clock.waits == [1, 1.5, 2.25, 3.375, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, 5, 1, 1.5]


def test_lost_answers_do_not_end_it() -> None:
    problem: Any = {"type": "about:blank", "title": "Too many requests", "status": 429, "detail": "slower"}
    lost = [
        NoAnswer("no answer", may_have_acted=True),
        Throttled(problem),
        UnexpectedAnswer("a page of a proxy", 200, b""),
    ]
    ended, troubles = followed([*lost, ENDED], Clock())

    assert ended["status"] == "success"
    assert troubles == lost


def test_silence_without_end_and_a_refusal_end_it() -> None:
    clock, silence = Clock(), NoAnswer("no answer", may_have_acted=True)
    with pytest.raises(NoAnswer):
        followed([RUNNING, silence], clock)
    assert PATIENCE_SECONDS <= clock.now < PATIENCE_SECONDS + 10
    problem: Any = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "expired"}
    with pytest.raises(Forbidden):
        followed([Forbidden(problem)], Clock())


def test_cancel_asks_and_passes_the_reason_on(sjm: Sjm, server: StandIn) -> None:
    refused = sjm("executions", "cancel", NAME, SHORT)
    done = sjm("executions", "cancel", NAME, SHORT, "--reason", "wrong ledger", "--yes")

    assert refused.code == 2
    assert f"Cancel {NAME} {SHORT}?" in refused.err
    assert len(server.received) == 1
    assert server.received[0].body == {"reason": "wrong ledger"}
    assert done.out == f"{NAME} {SHORT} is cancelled.\n"


def test_one_execution_is_rerun(sjm: Sjm, server: StandIn) -> None:
    done = sjm("executions", "rerun", NAME, SHORT)

    assert done.out == f"{NAME} 20261123T091500Z-5f3a9c01 is running.\n"
    assert server.received[0].path.endswith(f"-{SHORT}/rerun")


def answer_of(outcome: str, *executions: dict[str, Any], more: str | None = None, **fields: Any) -> Reply:
    """What the API answers about many executions."""
    names = ("execution_id", "service_name", "job_name", "scheduled_time", "status")
    results = [{**{name: each[name] for name in names}, "outcome": outcome, **fields} for each in executions]
    paging = {"more": more} if more else {}
    body = {"dry_run": False, "counts": {outcome: len(results)}, "results": results, "paging": paging}
    return Reply(body=body)


NEW = f"{LISTED['job_guid']}-20261123T091500Z-5f3a9c01"


def test_all_that_failed_are_rerun_the_oldest_first(sjm: Sjm, server: StandIn) -> None:
    failed = listed(3)
    server.replies += [
        page(*failed, *listed(1, reruns=["x"], execution_id="rerun before")),
        answer_of("rerun", failed[2], failed[1], more="next", rerun=NEW),
        answer_of("rerun", failed[0], rerun=NEW),
    ]
    done = sjm("executions", "rerun", "--failed", "--since", "2026-11-23", "--service", "billing", "--yes")
    search, *reruns = server.received

    assert search.path == "/apis/a1/services/billing/executions"
    assert dict(search.query)["status"] == "fail,timeout"
    assert {each.path for each in reruns} == {"/apis/a1/services/billing/executions/rerun"}
    ids = [each["execution_id"] for each in reversed(failed)]
    assert [each.body for each in reruns] == [
        {"execution_ids": ids, "again": False},
        {"execution_ids": ids, "again": False, "more": "next"},
    ]
    assert done.code == 0
    assert done.out.count("is rerun as 20261123T091500Z-5f3a9c01.") == 3
    assert done.err == "3 of 3 executions are rerun.\n"


def test_the_executions_of_each_service_need_no_rights_on_others(sjm: Sjm, server: StandIn) -> None:
    mine, other = listed(1)[0], listed(1, service_name="ledger")[0]
    server.replies += [
        page(mine, other),
        answer_of("rerun", other, rerun=NEW),
        answer_of("rerun", mine, rerun=NEW),
    ]
    sjm("executions", "rerun", "--failed", "--since", "2026-11-23", "--yes")

    assert [each.path.split("/")[4] for each in server.received[1:]] == ["ledger", "billing"]


def test_each_that_is_not_rerun_is_told_and_the_others_go_on(sjm: Sjm, server: StandIn) -> None:
    held = {
        "type": "/problems/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": f"The lock of {NAME} is held by x.",
    }
    failed = listed(2)
    results = answer_of("left", failed[1], problem=held).body["results"]
    results += answer_of("rerun", failed[0], rerun=NEW).body["results"]
    answer = {"dry_run": False, "counts": {"left": 1, "rerun": 1}, "results": results, "paging": {}}
    for form in ("jsonl", "table"):
        server.replies += [page(*failed), Reply(body=answer)]
        done = sjm("executions", "rerun", "--failed", "--since", "2026-11-23", "--yes", "-o", form)
        assert done.code == 1
        assert done.err == "1 of 2 executions are rerun.\n"
        if form == "jsonl":
            told = [json.loads(line) for line in done.out.splitlines()]
            assert [each["outcome"] for each in told] == ["left", "rerun"]
            assert told[0]["problem"] == held
        else:
            assert f"is not rerun: The lock of {NAME} is held by x. (409)" in done.out


def test_all_that_runs_is_cancelled(sjm: Sjm, server: StandIn) -> None:
    running = listed(2, status="running")
    server.replies += [page(*running), page(*running), answer_of("cancelled", *reversed(running))]
    line = ("executions", "cancel", "--running", "--job", NAME)
    rehearsal = sjm(*line, "--dry-run")
    done = sjm(*line, "--reason", "wrong ledger", "--yes")
    search, _, cancel = server.received

    assert "Without --dry-run, 2 executions would be cancelled." in rehearsal.err
    assert dict(search.query)["status"] == "running"
    assert cancel.path == "/apis/a1/services/billing/executions/cancel"
    ids = [each["execution_id"] for each in reversed(running)]
    assert cancel.body == {"execution_ids": ids, "reason": "wrong ledger"}
    assert done.out.count(" is cancelled.\n") == 2
    assert done.err == "2 of 2 executions are cancelled.\n"


def test_a_dry_run_and_a_limit(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(page(*listed(3)))
    done = sjm("executions", "rerun", "--failed", "--since", "2026-11-23", "--dry-run", "--limit", "2")

    assert [line.split()[1] for line in done.out.splitlines()[1:]] == ["20261123T020200Z", "20261123T020100Z"]
    assert "There are more than 2" in done.err
    assert "Without --dry-run, 2 executions would be rerun." in done.err
    assert [each.method for each in server.received] == ["GET"]


def test_what_was_rerun_is_left_out_unless_again(sjm: Sjm, server: StandIn) -> None:
    rerun_before = listed(1, reruns=["x"])
    server.replies += [page(*rerun_before), page(*rerun_before), page(*listed(3))]
    line = ("executions", "rerun", "--failed", "--since", "2026-11-23", "--dry-run")

    assert sjm(*line).err == "There is nothing to rerun.\n"
    assert len(sjm(*line, "--again").out.splitlines()) == 2
    assert [row.split()[1] for row in sjm(*line, "--newest-per-job").out.splitlines()[1:]] == [
        "20261123T020200Z"
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rerun", "Expected SERVICE/JOB and EXECUTION, or --failed"),
        ("rerun billing/nightly", "Expected SERVICE/JOB and EXECUTION"),
        ("rerun --failed", "--since"),
        ("rerun --since 2h", "--failed"),
        ("rerun --status running --since 2h", "what waits or runs cannot be rerun"),
        ("rerun --status waiting --since 2h", "what waits or runs cannot be rerun"),
        ("rerun billing/nightly 20261123T020000Z --failed", "One execution is named"),
        ("rerun --failed --since 2h --follow", "for one execution"),
        ("rerun --failed --since soon", "'soon' is not a time"),
        ("rerun --failed --since 2h --limit 1001", "1<=x<=1000"),
        ("rerun --failed --since 2h --job nightly", "Expected SERVICE/JOB, such as billing/nightly"),
        ("list --service a --job b/c", "only services, or only jobs"),
        ("list --limit 0", "x>=1"),
        ("show billing/nightly newest", "'newest' is not an execution"),
        ("cancel billing/nightly", "Missing argument 'EXECUTION'"),
        ("cancel", "or --running, or --waiting"),
        ("cancel billing/nightly 20261123T020000Z --waiting", "One execution is named"),
        ("cancel billing/nightly 20261123T020000Z --running", "One execution is named"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(
    sjm: Sjm, server: StandIn, line: str, sentence: str
) -> None:
    done = sjm("executions", *line.split())

    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert server.received == []
