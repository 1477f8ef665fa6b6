import json
import re
from collections import Counter
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import cast

import pytest

from bench import __main__ as bench_main
from bench import runs
from bench.figures import sum_of
from bench.gates import Gates
from bench.goals import Goal, goals_section
from bench.prices import MONTHLY_PRICES, dollars
from bench.run_cases import CASES, WorkflowType
from bench.runs_page import Result, Sample, alternatives, csv_row, goals, page_of, plot_of
from bench.standing import (
    ALARMING,
    Standing,
    default_schedule,
    metrics_by_month,
    minutes_of_rate,
    polls,
    without_settings,
)
from bench.table_writes import Write
from bench.tick_prices import ticks_section
from local.sample_service import Callbacks
from tests.unit.terraform.blocks import ROOT

RUN = {"transition": 4.0, "lambda request": 4.0, "sns publish": 3.0, "dynamodb write": 10.0}
TICK = {"lambda request": 1.0, "lambda GB-second": 0.02, "dynamodb read": 0.5}
EXPRESS_RUN = {
    "express request": 1.0,
    "express GB-second": 0.0125,
    "lambda request": 2.0,
    "sns publish": 3.0,
    "dynamodb write": 9.0,
}
FUNCTIONS = {"run_execution": 1}
RESULT = Result("SNS", [Sample(RUN, TICK, 6, FUNCTIONS)])
BY_TYPE: tuple[tuple[WorkflowType, dict[str, float]], ...] = (("standard", RUN), ("express", EXPRESS_RUN))
RESULTS = [
    Result(name, [Sample(units, TICK, 6, FUNCTIONS)], workflow_type=each)
    for name in (
        *("SNS", "webhook", "exclusive", "2 heartbeats", "sync", "skipped", "failed, one retry"),
        *("limit, a slot is free", "waits for the lock", "waits for a slot", "warn_after_seconds, in time"),
    )
    for each, units in BY_TYPE
]


def event(kind: str) -> dict[str, str]:
    return {"type": kind}


def item(size: int) -> dict[str, dict[str, str]]:
    return {"a": {"S": "x" * (size - 1)}}


def test_the_start_each_state_and_each_retry_count_as_transitions() -> None:
    once = ["ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskSucceeded", "TaskStateExited"]
    assert runs.transitions(map(event, once)) == 2
    assert runs.transitions(map(event, [*once, *once])) == 4  # of two machines
    retried = [*once[:3], "TaskFailed", "TaskScheduled", *once[3:], "SucceedStateEntered"]
    assert runs.transitions(map(event, retried)) == 4


def test_each_further_kilobyte_counts_on_top_and_twice_in_a_transaction() -> None:
    writes = [Write("executions", None, item(1500)), Write("executions", item(1500), item(2500))]
    assert runs.write_units(writes, 2) == 2 + 1 + 2


def test_each_further_item_of_a_transaction_counts_and_each_kilobyte_of_one_twice() -> None:
    record = {"execution_id": {"S": "e"}, "status": {"S": "running"}}
    begun = {**record, **item(1500)}
    locked = Write("jobs", {"lock_execution": {"S": "d"}}, {"lock_execution": {"S": "e"}})
    writes = [Write("executions", None, begun), locked, Write("executions", begun, {**begun, **item(2500)})]
    assert runs.write_units(writes, 2 + 1, transactions=(2,)) == 4 + 1 + 2 * 1 + 2
    with pytest.raises(ValueError, match=r"expected transactions of \(3,\) items, got 2"):
        runs.write_units(writes, 3, transactions=(3,))


def test_the_usual_cost_of_the_other_run_is_subtracted() -> None:
    other = Result("SNS", [Sample({"transition": 2.0, "lambda GB-second": 0.4}, TICK, 6, FUNCTIONS)])
    both = Sample(
        {"transition": 6.0, "lambda GB-second": 0.3, "sns publish": 1.0}, sum_of(TICK, TICK), 15, {}
    )
    alone = both.without(other)
    assert alone.units == {"transition": 4.0, "lambda GB-second": 0.0, "sns publish": 1.0}
    assert (alone.tick_units, alone.index_writes) == (TICK, 9)


def test_the_other_run_is_of_a_kind_that_was_measured_before() -> None:
    measured = set[tuple[str, str]]()
    for case in CASES:
        is_beside_another = case.course in ("waits", "is looked at", "follows")
        assert is_beside_another == bool(case.beside)
        assert not case.beside or (case.beside, case.workflow_type) in measured
        measured.add((case.name, case.workflow_type))


def test_no_run_of_a_job_ends_before_its_gate_is_open() -> None:
    gates, ended = Gates(), Queue[str]()

    def work(job_name: str) -> Thread:
        notification = {"job_name": job_name, "payload": json.dumps({"do": "silent"})}

        def run() -> None:
            gates.work(notification, cast(Callbacks, None), lambda _: True)
            ended.put(job_name)

        thread = Thread(target=run)
        thread.start()
        return thread

    gates.close("nightly")
    held = work("nightly")
    work("hourly").join()
    assert ended.get_nowait() == "hourly"
    assert ended.empty() and held.is_alive()
    gates.open("nightly")
    held.join()
    work("nightly").join()
    assert [ended.get_nowait(), ended.get_nowait()] == ["nightly", "nightly"]


def test_a_metric_with_other_dimensions_is_another_metric() -> None:
    line = {
        "_aws": {
            "CloudWatchMetrics": [
                {"Dimensions": [["stage"], ["stage", "service"]], "Metrics": [{"Name": "Succeeded"}]}
            ]
        },
        "stage": "local",
        "service": "billing",
        "Succeeded": [1],
    }
    found = runs.metrics_in(json.dumps(line, separators=(",", ":")))
    assert found == {("Succeeded", "stage=local"), ("Succeeded", "stage=local", "service=billing")}
    assert runs.metrics_in('{"level":"INFO"}') == set()


def test_a_metric_that_only_alarms_need_has_no_values_on_a_stage_that_stands_by() -> None:
    usual = {("Succeeded", "stage=local"), ("Duration", "stage=local")}
    priced = metrics_by_month(usual | {("ManagerFailed", "stage=local"), ("MemoryUsed", "stage=local")})
    assert (priced.count, priced.dollars) == (2, 2 * MONTHLY_PRICES["custom metric"].dollars)


def test_the_alarms_on_metrics_of_the_stage_are_known() -> None:
    text = (ROOT / "terraform" / "alarms.tf").read_text()
    own = re.findall(r'namespace   = local\.metrics_namespace\n +metric      = "(\w+)"', text)
    assert sorted(own) == sorted(ALARMING)


def test_what_no_setting_turns_off_is_summed_apart() -> None:
    assert polls().count == 657_000
    assert round(polls().dollars, 2) == 0.26
    assert (
        without_settings([polls(), Standing("dashboard", 1, 3.0, "dashboard"), Standing("key", 1, 1.0)])
        == 1.0
    )


def test_every_kind_of_run_has_a_job_of_its_own() -> None:
    names = [case.job_name for case in CASES]
    assert len(set(names)) == len(names)
    assert not {" ", ","} & set("".join(names))


def test_every_kind_of_run_is_measured_for_both_types() -> None:
    kinds = Counter(case.name for case in CASES)
    assert kinds.pop("longer than a minute") == 1  # it costs nothing more where Step Functions waits
    assert set(kinds.values()) == {2}


def test_the_ancestor_pays_11_transitions_and_the_scheduler_pays_none() -> None:
    ancestor, functions_only, bare = alternatives(RESULTS)
    assert dollars(ancestor.units) - dollars(sum_of(RUN, TICK)) == pytest.approx(7 * 0.025e-3)
    assert not {"transition", "express request", "express GB-second"} & functions_only.units.keys()
    machine = {name: EXPRESS_RUN[name] for name in ("express request", "express GB-second")}
    expected = dollars(EXPRESS_RUN) - dollars(machine) + 1e-6
    assert dollars(functions_only.units) == pytest.approx(expected)
    assert dollars(bare.units) < dollars(functions_only.units)


def test_the_page_has_the_monthly_price_of_a_job_of_each_type() -> None:
    page = page_of(RESULTS, [Standing("dashboard", 1, 3.0)], 1)
    for workflow_type, units in BY_TYPE:
        each = dollars(sum_of(units, TICK)) * 43_800
        shown = f"{each:.4f}".rstrip("0") if each < 1 else f"{each:.2f}"
        assert re.search(rf"\| SNS +\| {workflow_type} +\| +{shown} \|", page)
    assert "$3.00 a month by default, and $3.00 with" in page
    assert csv_row(RESULT)["transition"] == 4.0


def test_a_tick_by_scheduler_costs_a_dollar_a_million_more_than_one_by_a_rule() -> None:
    page = ticks_section(RESULTS)
    by_rule = dollars(TICK) * 1e6
    assert re.search(rf"\| rule +\| +{round(by_rule, 2)} \|", page)
    assert re.search(rf"\| Scheduler +\| +{round(by_rule + 1, 2)} \|", page)
    for workflow_type, units in BY_TYPE:
        each = dollars(sum_of(units, TICK)) + 1e-6
        shown = round(each * 43_800 / 1440, 4)
        assert re.search(rf"\| {workflow_type.capitalize()} +\| Scheduler +\| .*\| +{shown} \|", page)
    assert "319 schedules that fire each minute" in page


def test_a_job_in_a_time_zone_has_its_ticks_under_a_key_of_its_own() -> None:
    (case, *_) = [case for case in CASES if case.name == "in a time zone"]
    assert case.key_of("cron(0 0 2 1 ? 2150)") == "cron(0 0 2 1 ? 2150) Europe/Berlin"
    assert CASES[0].key_of("cron(0 0 2 1 ? 2150)") == "cron(0 0 2 1 ? 2150)"


def test_what_waits_is_compared_with_what_does_not() -> None:
    waits = Result("waits for a slot", [Sample({**RUN, "dynamodb write": 30.0}, TICK, 6, FUNCTIONS)])
    slot = Result("limit, a slot is free", [Sample({**RUN, "dynamodb write": 16.0}, TICK, 6, FUNCTIONS)])
    others = [each for each in RESULTS if (each.name, each.workflow_type) != (waits.name, "standard")]
    found = {each.what: each for each in goals([waits, slot, *others], [])}
    assert found["Standard with a free slot, beyond SNS"].missed_by == 1.0
    ratio = found["Standard that waits for a slot, of one that does not"].found
    assert ratio == pytest.approx(waits.dollars_a_million / slot.dollars_a_million)
    assert found["Express with a warning, in time, beyond SNS"].missed_by == 0.0


def test_a_missed_goal_is_shown_with_what_is_missing() -> None:
    page = goals_section([Goal("a run", "$", 64, 64.0371), Goal("a skip", "$", 4, 4.0)])
    assert re.search(r"\| a run +\| \$ +\| ≤ 64 +\| 64.037 +\| 0.037 +\|", page)
    assert re.search(r"\| a skip +\| \$ +\| ≤ 4 +\| 4 +\| +\|", page)


def test_the_plot_is_an_image_that_loads_nothing() -> None:
    image = plot_of(RESULTS).render().decode()
    assert "<svg" in image
    assert "<script" not in image.replace('<script type="text/javascript">window.pygal', "")


def test_the_costs_of_an_idle_stage_are_read_from_terraform() -> None:
    assert {default_schedule(name) for name in ("reap_executions", "reconcile_schedules")} == {
        "rate(1 minute)",
        "rate(15 minutes)",
    }


@pytest.mark.parametrize(("expression", "minutes"), [("rate(1 minute)", 1), ("rate(2 hours)", 120)])
def test_a_rate_is_converted_to_minutes(expression: str, minutes: int) -> None:
    assert minutes_of_rate(expression) == minutes


def test_a_cron_expression_is_not_a_rate() -> None:
    with pytest.raises(ValueError, match="not a rate"):
        minutes_of_rate("cron(0 2 * * ? *)")


def test_the_plots_of_the_docs_are_copied_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_main, "DIRECTORY", tmp_path)
    monkeypatch.setattr(bench_main, "DOCS", tmp_path)
    (tmp_path / "units.svg").write_text("<svg/>")
    bench_main.put_plots_into_docs(["units", "routes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cost.svg", "units.svg"]


def test_the_plots_of_the_docs_exist_and_are_shown() -> None:
    shown = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for _, name in bench_main.PLOTS_OF_DOCS.values():
        assert (ROOT / "docs" / name).exists()
        assert f"]({name})" in shown
