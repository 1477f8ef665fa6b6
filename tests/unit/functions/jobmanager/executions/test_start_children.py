"""The end of an execution starts the jobs after it, once, whatever is repeated, wherever a function dies."""

import json
import re
from collections.abc import Sequence
from typing import Any
from unittest.mock import ANY

import pytest

from functions.get_chain.handler import handler as get_chain
from functions.start_children.handler import handler
from jobmanager.aws import invocations
from jobmanager.core.errors import BadRequest
from jobmanager.core.mappings import picked
from jobmanager.delivery.notification import notification
from jobmanager.executions import backfill, by_hand, machine, start_children
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due, Execution
from jobmanager.executions.settle import settle
from jobmanager.jobs import changes, store
from jobmanager.jobs.definition import Job
from jobmanager.jobs.validation import definition
from tests.unit.docs.test_api_docs import section
from tests.unit.functions.examples import (
    NOON_MS,
    api_event,
    due,
    end_as,
    lambda_context,
    save_job,
    stored,
)
from tests.unit.functions.lambdas import Lambdas

pytestmark = pytest.mark.usefixtures("cloud")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What start_children was invoked with."""
    stand_in = Lambdas("start-children")
    monkeypatch.setattr(invocations, "lambdas", lambda: stand_in)
    return stand_in.asked


class Started:
    """The machines that were started, by name. A name is taken once, as by a Standard machine."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.traces: list[str] = []

    def start_execution(self, stateMachineArn: str, name: str, input: str, **trace: str) -> None:
        self.traces += trace.values()
        if name in self.inputs:
            raise self.exceptions.ExecutionAlreadyExists
        self.inputs[name] = json.loads(input)

    class exceptions:
        class ExecutionAlreadyExists(Exception):
            pass

    def of(self, job_name: str) -> list[Due]:
        return [each for each in self.inputs.values() if each["job_name"] == job_name]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    client = Started()
    for name in ("step_functions", "untraced_step_functions"):
        monkeypatch.setattr(machine, name, lambda: client)
    return client


def chained(job_name: str, *parents: Any, at_ms: int = NOON_MS, **fields: Any) -> Job:
    after = [{"job": each} if isinstance(each, str) else each for each in parents]
    body = {"invocation_type": "sns", "after": after, **fields}
    return changes.save("billing", job_name, definition(body, "topic"), "tester", at_ms)[0]


def run(execution: Due, status: str = "success", at_ms: int = NOON_MS, **result: Any) -> Execution:
    """Begins, ends and settles an execution."""
    record = begin(execution, at_ms)
    assert record["status"] == "running", record
    end_as(record, status, result, at_ms + 1500)
    return settle(stored(record), at_ms + 1500)


def run_job(job_name: str, status: str = "success", at_ms: int = NOON_MS, **result: Any) -> Execution:
    return run(due(job_name, at_ms=at_ms), status, at_ms, **result)


def handle(asked: list[dict[str, str]]) -> int:
    """Does what Lambda does with the invocations so far."""
    events, asked[:] = list(asked), []
    return sum(handler(event, lambda_context())["started"] for event in events)


def test_a_job_without_children_invokes_nothing(asked: list[dict[str, str]]) -> None:
    save_job("first")
    assert "trace_header" not in run_job("first")
    assert asked == []


def test_a_child_starts_when_its_parent_has_ended(asked: list[dict[str, str]], started: Started) -> None:
    save_job("first")
    chained("second", "first", workflow_type="express")
    parent = run_job("first")
    assert handle(asked) == 1
    (child,) = started.of("second")
    assert child["scheduled_time"] == "2026-11-23T12:00:01Z"
    assert child["workflow_type"] == "express"
    assert child["parents"] == [{"job": "first", "execution_id": parent["execution_id"], "status": "success"}]
    record = begin(child, NOON_MS + 2000)
    assert (record["status"], record["parents"], record["chain_depth"]) == ("running", child["parents"], 2)
    assert stored(parent)["children"] == [child["execution_id"]]


@pytest.mark.parametrize(
    ("status", "on", "count"),
    [("fail", ["success"], 0), ("fail", ["fail"], 1), ("cancelled", ["timeout", "cancelled"], 1)],
)
def test_the_end_decides_what_follows(
    asked: list[dict[str, str]], started: Started, status: str, on: list[str], count: int
) -> None:
    save_job("first")
    chained("second", {"job": "first", "on": on})
    run_job("first", status)
    assert handle(asked) == count
    assert len(started.of("second")) == count


def test_a_settlement_that_is_repeated_starts_nothing_twice(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("first")
    chained("second", "first")
    parent = run_job("first")
    settle(parent, NOON_MS + 9000)
    assert len(asked) == 2
    assert handle(asked * 3) == 1
    assert len(stored(parent)["children"]) == 1


def test_a_job_after_several_starts_once_all_have_ended_without_a_pause(
    asked: list[dict[str, str]], started: Started, pauses: list[float]
) -> None:
    for name in ("a", "b"):
        save_job(name)
    chained("last", "a", "b")
    a = run_job("a", at_ms=NOON_MS)
    assert handle(asked) == 0
    b = run_job("b", at_ms=NOON_MS + 60_000)
    again = list(asked)
    assert handle(asked) == 1
    assert handle(again) == 0
    (child,) = started.of("last")
    assert child["scheduled_time"] == "2026-11-23T12:01:01Z"
    assert [parent["execution_id"] for parent in child["parents"]] == [a["execution_id"], b["execution_id"]]
    assert [stored(each)["children"] for each in (a, b)] == [[child["execution_id"]]] * 2
    run_job("b", at_ms=NOON_MS + 120_000)
    assert handle(asked) == 0, "a has not ended again"
    run_job("a", at_ms=NOON_MS + 120_000)
    assert handle(asked) == 1
    assert pauses == []


@pytest.mark.parametrize(("before", "now"), [(["a"], ["a", "b"]), (["a", "b"], ["a"])])
def test_an_end_that_was_used_starts_nothing_again_once_the_job_runs_after_others(
    asked: list[dict[str, str]], started: Started, before: list[str], now: list[str]
) -> None:
    for name in ("a", "b"):
        save_job(name)
    chained("last", *before)
    for name in before:
        run_job(name)
    again = list(asked)
    assert handle(asked) == 1
    chained("last", *now)
    assert handle(again) == 0
    run_job("b", at_ms=NOON_MS + 60_000)
    assert handle(asked) == 0, "a has not ended again"
    run_job("a", at_ms=NOON_MS + 120_000)
    assert handle(asked) == 1


def test_of_two_ends_of_one_parent_the_later_one_counts(
    asked: list[dict[str, str]], started: Started
) -> None:
    for name in ("a", "b"):
        save_job(name)
    chained("last", "a", "b")
    run_job("a", at_ms=NOON_MS)
    later = run_job("a", at_ms=NOON_MS + 60_000)
    asked.reverse()
    handle(asked)
    run_job("b", at_ms=NOON_MS)
    handle(asked)
    (child,) = started.of("last")
    assert child["parents"][0]["execution_id"] == later["execution_id"]


class Died(Exception):
    """The function died."""


def test_wherever_a_function_dies_the_last_of_a_diamond_starts_once(
    asked: list[dict[str, str]], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before its first call, before its second and so on; Lambda then invokes it again."""
    calls = {"made": 0, "dies_at": -1}

    def mortal(call: Any) -> Any:
        def made(*arguments: Any, **named: Any) -> Any:
            if calls["made"] == calls["dies_at"]:
                raise Died
            calls["made"] += 1
            return call(*arguments, **named)

        return made

    for name in ("a", "b"):
        save_job(name)
    chained("last", "a", "b")
    for module, name in (
        (store, "find_without_large_values"),
        (store, "update_if"),
        (executions, "find"),
        (executions, "update_if"),
        (start_children, "start_machine"),
    ):
        monkeypatch.setattr(module, name, mortal(getattr(module, name)))
    for dies_at in range(40):
        calls["dies_at"] = -1
        at_ms = NOON_MS + dies_at * 600_000
        first, second = run_job("a", at_ms=at_ms), run_job("b", at_ms=at_ms + 60_000)
        events, asked[:] = list(asked), []
        assert len(events) == 2
        calls |= {"made": 0, "dies_at": dies_at}
        died = 0
        for event in events:
            try:
                handler(event, lambda_context())
            except Died:
                died += 1
                calls["dies_at"] = -1
                handler(event, lambda_context())
        calls["dies_at"] = -1
        assert len(started.of("last")) == dies_at + 1
        assert stored(first)["children"] == stored(second)["children"]
        if not died:
            assert dies_at > 10
            return
    raise AssertionError("it never got to its end")


def leave_a_start_over(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, parents: Sequence[str] = ("a", "b")
) -> list[dict[str, str]]:
    """Ends the parents of ``last``, and fails its start. Returns what Lambda invokes again."""
    for name in ("a", "b"):
        save_job(name)
    chained("last", *parents)
    for name in parents:
        run_job(name)
    again = list(asked)
    with monkeypatch.context() as patch:
        patch.setattr(start_children, "start_machine", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            handle(asked)
    asked.clear()
    return again


@pytest.mark.parametrize("after", [("a", "b"), ({"job": "a", "on": ["fail"]},)], ids=["more", "other ends"])
def test_a_start_after_one_job_is_made_by_the_retry_although_the_chain_has_changed_and_its_end_is_used(
    asked: list[dict[str, str]],
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    after: tuple[Any, ...],
) -> None:
    again = leave_a_start_over(asked, monkeypatch, ["a"])
    chained("last", *after)
    assert handle(again) == 1
    (child,) = started.of("last")
    assert [parent["job"] for parent in child["parents"]] == ["a"]
    assert begin(child, NOON_MS + 60_000)["status"] == "running"
    assert handle(again) == 0
    run_job("b", at_ms=NOON_MS + 60_000)
    assert handle(asked) == 0
    assert started.of("last") == [child]


def test_what_a_job_lists_from_before_it_was_created_again_is_not_started(
    asked: list[dict[str, str]], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = leave_a_start_over(asked, monkeypatch, ["a"])
    changes.delete("billing", "last", "tester", NOON_MS + 5000)
    chained("last", "a", at_ms=NOON_MS + 9000)
    assert handle(again) == 0
    assert started.of("last") == []


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (("b",), {"reason": {"code": "parents_changed", "detail": ANY}}),
        (({"job": "a", "on": ["fail"]}, {"job": "b", "on": ["fail"]}), {}),
    ],
    ids=["fewer", "other ends"],
)
def test_an_end_whose_start_is_left_over_starts_nothing_else_if_the_chain_has_changed_since(
    asked: list[dict[str, str]],
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    after: tuple[Any, ...],
    reason: dict[str, Any],
) -> None:
    """Lambda retries after a minute, in which somebody changes the job."""
    again = leave_a_start_over(asked, monkeypatch)
    chained("last", *after)
    assert handle(again) == 1
    (child,) = started.of("last")
    assert [parent["job"] for parent in child["parents"]] == ["a", "b"]
    for parent in child["parents"]:
        record = executions.find(parent["execution_id"])
        assert record is not None and record["children"] == [child["execution_id"]]
    assert picked(begin(child, NOON_MS + 60_000), ["reason"]) == reason


def test_a_start_that_is_left_over_is_made_by_the_next_end(
    asked: list[dict[str, str]], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_start_over(asked, monkeypatch)
    run_job("a", at_ms=NOON_MS + 60_000)
    assert handle(asked) == 1
    run_job("b", at_ms=NOON_MS + 60_000)
    assert handle(asked) == 1
    assert len(started.of("last")) == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda: chained("second", "first", enabled=False), "job_disabled"),
        (lambda: changes.pause("billing", "second", {"reason": "-"}, "tester", NOON_MS), "job_paused"),
        (lambda: changes.delete("billing", "second", "tester", NOON_MS), "job_deleted"),
        (lambda: chained("second", "other"), "parents_changed"),
        (lambda: save_job("second"), "parents_changed"),
    ],
)
def test_a_child_that_has_changed_is_skipped_as_by_a_tick(
    asked: list[dict[str, str]], started: Started, change: Any, code: str
) -> None:
    save_job("first")
    save_job("other")
    chained("second", "first")
    run_job("first")
    handle(asked)
    change()
    record = begin(started.of("second")[0], NOON_MS + 2000)
    assert (record["status"], record["reason"]["code"]) == ("skipped", code)


def test_a_tick_of_the_schedule_that_a_job_had_before_is_skipped() -> None:
    save_job("first")
    save_job("second")
    chained("second", "first")
    record = begin(due("second"), NOON_MS)
    assert record["reason"] == {
        "code": "schedule_changed",
        "detail": "the job has no schedule any more: it runs after first",
    }


def test_a_start_is_late_from_the_end_of_the_last_parent_on(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("first")
    chained("second", "first", starting_deadline_seconds=60)
    run_job("first")
    handle(asked)
    (child,) = started.of("second")
    assert begin(child, NOON_MS + 61_000)["status"] == "running"
    late: Due = {**child, "execution_id": f"{child['execution_id'][:-1]}x"}
    assert begin(late, NOON_MS + 63_000)["reason"]["code"] == "started_too_late"


def test_a_chain_that_is_too_deep_ends(asked: list[dict[str, str]], started: Started) -> None:
    save_job("first")
    chained("second", "first")
    run({**due("first"), "chain_depth": 20})
    handle(asked)
    assert begin(started.of("second")[0], NOON_MS + 2000)["reason"]["code"] == "chain_too_deep"


def test_a_deleted_parent_starts_nothing_even_if_it_was_created_again(asked: list[dict[str, str]]) -> None:
    save_job("first")
    chained("second", "first")
    record = begin(due("first"), NOON_MS)
    changes.delete("billing", "first", "tester", NOON_MS)
    save_job("first", at_ms=NOON_MS + 5000)
    end_as(record, "success", {}, NOON_MS + 9000)
    settle(stored(record), NOON_MS + 9000)
    assert asked == []


def test_the_notification_has_the_states_of_the_parents(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("a")
    save_job("b")
    save_job("c")
    chained("last", "a", "b", "c")
    run_job("a", state="x" * 60_000)
    run_job("b", state="4712")
    run_job("c")
    handle(asked)
    record = begin(started.of("last")[0], NOON_MS + 2000)
    record["service_invoked_at_ms"] = NOON_MS + 2000
    told = notification(record, "https://manager.example/callback/x", None)
    assert "schedule" not in told
    assert [parent.get("state") for parent in told["parents"]] == ["x" * 60_000, "4712", None]
    assert [parent["job"] for parent in told["parents"]] == ["a", "b", "c"]


def test_states_that_do_not_fit_are_left_out(asked: list[dict[str, str]], started: Started) -> None:
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        save_job(name)
    chained("last", *names)
    for name in names:
        run_job(name, state="\\" * 65_536 if name == "job-1" else "y" * 65_000)
    handle(asked)
    record = begin(started.of("last")[0], NOON_MS + 2000)
    record["service_invoked_at_ms"] = NOON_MS + 2000
    told = notification(record, "https://manager.example/callback/x", None)
    assert [parent.get("state_is_left_out", False) for parent in told["parents"]] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert len(json.dumps(told)) < 256 * 1024


def test_a_rerun_has_the_parents_of_the_first_run(asked: list[dict[str, str]], started: Started) -> None:
    save_job("first")
    chained("second", "first")
    run_job("first")
    handle(asked)
    record = run(started.of("second")[0], "fail", NOON_MS + 2000)
    again = by_hand.rerun("billing", "second", record["execution_id"], "ann", None, NOON_MS + 9000)
    assert (again["parents"], again["chain_depth"]) == (record["parents"], 2)


def test_a_chained_job_cannot_be_backfilled() -> None:
    save_job("first")
    chained("second", "first")
    request = backfill.Request(NOON_MS - 1, NOON_MS, True, True, None)
    with pytest.raises(BadRequest, match="it runs after first"):
        backfill.backfill("billing", "second", request, "ann", NOON_MS, lambda _: None)


def chain(record: Execution) -> dict[str, Any]:
    names: dict[str, Any] = {name: record[name] for name in ("service_name", "job_name", "execution_id")}
    answer = get_chain(api_event(**names), lambda_context())
    assert answer["statusCode"] == 200
    return dict(json.loads(answer["body"]))


def test_the_whole_chain_is_seen_from_each_of_its_executions(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("top")
    chained("left", "top")
    chained("right", "top")
    chained("bottom", "left", "right")
    top = run_job("top")
    handle(asked)
    sides = [run(started.of(name)[0], at_ms=NOON_MS + 5000) for name in ("left", "right")]
    handle(asked)
    bottom = run(started.of("bottom")[0], at_ms=NOON_MS + 9000)
    seen: dict[str, Any] = {}
    for record in (top, *sides, bottom):
        seen = chain(record)
        assert seen["roots"] == [top["execution_id"]]
        assert [each["job_name"] for each in seen["executions"]] == ["top", "left", "right", "bottom"]
        assert seen["is_cut"] is False
    assert seen["executions"][-1]["parents"] == bottom["parents"]
    assert "payload" not in seen["executions"][0]


def code_of(language: str) -> str:
    """The last block of a language in the docs of chains."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", section("Chains"), re.MULTILINE | re.DOTALL)
    return blocks[-1]


def test_the_docs_show_the_diamond_as_it_is_drawn_and_answered(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("nightly")
    jobs = [chained("invoices", "nightly"), chained("payments", "nightly")]
    jobs.append(chained("report", "invoices", "payments"))
    top = run_job("nightly")
    handle(asked)
    invoices = run(started.of("invoices")[0], at_ms=NOON_MS + 5000)
    payments = begin(started.of("payments")[0], NOON_MS + 5000)
    handle(asked)
    answer = chain(top)
    states = {each["job_name"]: each["status"] for each in answer["executions"]}

    drawn = code_of("mermaid")
    assert dict(re.findall(r'(\w+)\["\1<br/>([^"]+)"\]', drawn)) == {**states, "report": "no execution yet"}
    arrows = [
        (before, after)
        for before, afters in re.findall(
            r"^  (\w+).*?(?:--|-\.) [^>]*> (.*)$", re.sub(r'\["[^]]*"\]', "", drawn), re.M
        )
        for after in afters.split(" & ")
    ]
    assert sorted(arrows) == sorted((one["job"], job["job_name"]) for job in jobs for one in job["after"])

    documented = json.loads(code_of("json"))
    ids = [each["execution_id"] for each in documented["executions"]]
    named = dict(zip(ids, (each["execution_id"] for each in (top, invoices, payments)), strict=True))
    for shown in documented["executions"]:
        assert shown.pop("…") == "…"
    of_the_docs = json.loads(
        re.sub("|".join(ids), lambda found: named[found[0]], json.dumps(documented, ensure_ascii=False))
    )
    told = [
        {name: each[name] for name in shown}
        for each, shown in zip(answer["executions"], of_the_docs["executions"], strict=True)
    ]
    assert {**answer, "executions": told} == of_the_docs


def test_a_failed_side_of_a_diamond_is_made_good_by_its_rerun(
    asked: list[dict[str, str]], started: Started
) -> None:
    save_job("nightly")
    chained("invoices", "nightly")
    chained("payments", "nightly")
    chained("report", "invoices", "payments")
    run_job("nightly")
    handle(asked)
    run(started.of("invoices")[0], at_ms=NOON_MS + 5000)
    failed = run(started.of("payments")[0], "fail", at_ms=NOON_MS + 5000)
    handle(asked)
    assert started.of("report") == []
    by_hand.rerun("billing", "payments", failed["execution_id"], "ann", None, NOON_MS + 60_000)
    again = run(started.of("payments")[1], at_ms=NOON_MS + 60_000)
    handle(asked)
    (report,) = started.of("report")
    assert report["parents"][1]["execution_id"] == again["execution_id"]


def test_a_chain_that_is_too_large_is_cut(
    asked: list[dict[str, str]], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.chain.MAX_EXECUTIONS", 2)
    save_job("top")
    chained("left", "top")
    chained("right", "top")
    top = run_job("top")
    handle(asked)
    for name in ("left", "right"):
        run(started.of(name)[0], at_ms=NOON_MS + 5000)
    assert (len(chain(top)["executions"]), chain(top)["is_cut"]) == (2, True)


def test_a_chain_continues_the_trace_of_its_first_run(
    asked: list[dict[str, str]], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.record.trace_header", lambda: "Root=1-a;Parent=b;Sampled=1")
    save_job("first")
    chained("second", "first")
    assert run_job("first")["trace_header"] == "Root=1-a;Parent=b;Sampled=1"
    handle(asked)
    assert started.traces == ["Root=1-a;Parent=b;Sampled=1"]
