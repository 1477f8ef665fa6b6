"""Chains: the drawing on the page of an execution, and jobs that run after others on all pages."""

import re
from itertools import pairwise
from typing import Any

import pytest

from sjm.client import Chain, Job
from sjm.console import chain
from tests.unit.sjm.console.stage_server import StageServer
from tests.unit.sjm.console.stage_stand_in import Stage, made_up_execution, now_ms
from tests.unit.sjm.console.visitor import Visitor, text_of

DAILY: Job = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}
# Of each job, those after which it runs.
DIAMOND = {
    "nightly": [],
    "invoices": ["nightly"],
    "payments": ["nightly"],
    "report": ["invoices", "payments"],
}


def page_of(run: Any) -> str:
    return f"/jobs/billing/{run['job_name']}/executions/{run['execution_id']}"


def put(server: StageServer, jobs: dict[str, list[str]]) -> None:
    with server.manager() as manager:
        for name, parents in jobs.items():
            after: Job = {"after": [{"job": each} for each in parents], "invocation_type": "sns"}
            manager.put_job("billing", name, after if parents else DAILY)


def newest(server: StageServer, job_name: str) -> Any:
    with server.manager() as manager:
        return next(iter(manager.list_executions_of_job("billing", job_name)))


def run_diamond(server: StageServer) -> None:
    """Runs the diamond until its report runs."""
    put(server, DIAMOND)
    with server.manager() as manager:
        manager.start_execution("billing", "nightly")
    for name in ("nightly", "invoices", "payments"):
        server.stage.end(newest(server, name)["execution_id"], "success")


def chain_of(parents: dict[str, list[str]], *, is_cut: bool = False) -> Chain:
    """A chain whose executions are named by letters."""
    runs: list[Any] = []
    for number, (name, before) in enumerate(parents.items()):
        run: Any = made_up_execution(1000 + number, 1000, 1000, now_ms())
        linked = [{"job": each, "execution_id": each, "status": "success"} for each in before]
        runs.append({**run, "job_name": name, "execution_id": name, "parents": linked})
    return {"roots": [], "executions": runs, "is_cut": is_cut}


# The drawing


def test_layers_go_from_left_to_right_by_the_longest_way() -> None:
    view = chain.drawn(chain_of({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["c"]}), "b")
    places = {box.run["job_name"]: (box.x, box.y) for box in view.boxes}
    assert sorted(places, key=lambda name: places[name]) == ["a", "b", "c", "d"]
    assert len({x for x, _ in places.values()}) == view.layers == 4
    assert len(view.arrows) == 4
    assert [box.run["job_name"] for box in view.boxes if box.is_here] == ["b"]
    assert view.middle == (places["b"][0] + chain.BOX_WIDTH // 2, places["b"][1] + chain.BOX_HEIGHT // 2)


def test_a_child_stands_beside_its_parents_and_no_box_covers_another() -> None:
    jobs: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    view = chain.drawn(chain_of({**jobs, **{f"e{number}": ["c"] for number in range(30)}}), "a")
    places = {box.run["job_name"]: (box.x, box.y) for box in view.boxes}
    assert places["a"][1] == places["b"][1] < places["d"][1] < places["c"][1]
    for layer in {x for x, _ in places.values()}:
        tops = sorted(y for x, y in places.values() if x == layer)
        assert all(below - above >= chain.BOX_HEIGHT for above, below in pairwise(tops))
    assert max(y for _, y in places.values()) + chain.BOX_HEIGHT <= view.height
    assert max(x for x, _ in places.values()) + chain.BOX_WIDTH <= view.width


def test_executions_that_only_one_side_names_are_linked_and_a_circle_is_drawn() -> None:
    one_sided = chain_of({"a": [], "b": []})
    one_sided["executions"][0]["children"] = ["b", "expired"]
    assert (chain.drawn(one_sided, "b").layers, len(chain.drawn(one_sided, "b").arrows)) == (2, 1)
    circle = chain.drawn(chain_of({"a": ["b"], "b": ["a"], "c": ["expired"]}), "a")
    assert (len(circle.boxes), len(circle.arrows)) == (3, 2)
    empty = chain.drawn(chain_of({}), "a")
    assert (list(empty.boxes), empty.middle) == ([], (0, 0))


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    view = chain.drawn(
        chain_of({"short-enough-for-a-box": [], "a-name-that-is-too-long": [], "brief": []}), "a"
    )
    assert [box.name for box in view.boxes] == ["short-enoug…for-a-box", "a-name-that…-too-long", "brief"]


def test_at_most_two_hundred_are_drawn() -> None:
    view = chain.drawn(chain_of({f"job-{number}": [] for number in range(230)}), "job-229")
    assert (len(view.boxes), view.is_cut, view.has_here) == (chain.MOST, True, False)
    assert chain.drawn(chain_of({"a": []}, is_cut=True), "a").is_cut


# The page of an execution


def test_an_execution_shows_its_chain_as_a_drawing_and_as_a_list(
    visitor: Visitor, stage_server: StageServer
) -> None:
    run_diamond(stage_server)
    report, invoices = newest(stage_server, "report"), newest(stage_server, "invoices")
    page = visitor.get(page_of(report)).text

    assert 'role="img" aria-label="4 executions in 3 steps' in page
    assert page.count('class="arrow"') == 4
    assert page.count('class="box success') == 3
    assert page.count('class="box running here"') == 1
    assert page.count(f'<a href="{page_of(invoices)}" tabindex="-1">') == 1
    listed = page[page.index('id="chain-list"') :]
    assert re.search(f'<a href="{page_of(invoices)}">invoices</a> succeeded in', listed)
    assert "report (this one) running, after invoices and payments" in text_of(listed)
    assert "nightly succeeded" in text_of(listed)
    assert page.count('id="arrow"') == 1


def test_a_page_stays_fresh_while_its_chain_goes_on(visitor: Visitor, stage_server: StageServer) -> None:
    run_diamond(stage_server)
    nightly, report = newest(stage_server, "nightly"), newest(stage_server, "report")
    assert 'data-live="15"' in visitor.get(page_of(nightly)).text
    assert 'data-live="5"' in visitor.get(page_of(report)).text
    stage_server.stage.end(report["execution_id"], "fail", error="LedgerLocked")
    visitor.submit(visitor.get("/schedules/reconcile"), {})  # after an act, everything is read again
    page = visitor.part(page_of(nightly))
    assert "data-live" not in page
    assert 'class="box fail"' in page


def test_only_an_execution_of_a_chain_asks_for_one_and_asks_once(
    visitor: Visitor, stage_server: StageServer
) -> None:
    run_diamond(stage_server)
    with stage_server.manager() as manager:
        manager.put_job("billing", "alone", DAILY)
        alone = manager.start_execution("billing", "alone")
    received = stage_server.stage.received
    before = len(received)
    assert "chain-box" not in visitor.get(page_of(alone)).text
    assert len(received) == before + 1
    for _ in range(3):
        visitor.get(page_of(newest(stage_server, "nightly")))
    assert len([target for _, target in received if target.endswith("/chain")]) == 1


def test_a_chain_that_cannot_be_read_is_said_and_the_rest_stays(
    visitor: Visitor, stage_server: StageServer
) -> None:
    run_diamond(stage_server)
    for _ in range(2):
        stage_server.stage.fail_next("GET .*/chain$", 503)
    answer = visitor.get(page_of(newest(stage_server, "report")))
    assert answer.status == 200
    assert "Service Unavailable" in answer.text
    assert 'id="course"' in answer.text
    assert "chain-box" not in answer.text


def test_a_chain_that_is_cut_says_so(
    visitor: Visitor, stage: Stage, stage_server: StageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.sjm.console.stage_stand_in._MOST_OF_A_CHAIN", 3)
    run_diamond(stage_server)
    page = text_of(visitor.get(page_of(newest(stage_server, "report"))).text)
    assert (
        "These are the first 3 executions of the chain; there are more. This one is not among them." in page
    )
    assert "not among them" not in text_of(visitor.get(page_of(newest(stage_server, "nightly"))).text)


# Jobs that run after others


def test_a_job_shows_after_which_it_runs_and_which_run_after_it(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, DIAMOND)
    page = visitor.get("/jobs/billing/invoices").text
    assert 'Runs after</dt><dd><a href="/jobs/billing/nightly">nightly</a></dd>' in page
    assert 'After it run</dt><dd><a href="/jobs/billing/report">report</a></dd>' in page
    assert "Backfill" not in page
    assert "Runs next After nightly." in text_of(page)
    first = text_of(visitor.get("/jobs/billing/nightly").text)
    assert "After it run invoices , payments" in first
    assert "Runs after" not in first
    assert "Backfill …" in first
    assert "Runs after invoices and payments" in text_of(visitor.get("/jobs/billing/report").text)


def test_an_orphan_warns_and_says_what_to_do(visitor: Visitor, stage_server: StageServer) -> None:
    put(stage_server, {**DIAMOND, "Weekly": [], "summary": ["Weekly", "nightly"]})
    asked = text_of(visitor.get("/jobs/billing/nightly/delete").text)
    assert "invoices, payments and summary will not run any more, until you create it again." in asked
    with stage_server.manager() as manager:
        manager.delete_job("billing", "nightly")
        page = text_of(visitor.get("/jobs/billing/invoices").text)
        assert "because nightly was deleted. Create that job again, or edit" in page
        assert "Never: nightly was deleted." in page
        manager.delete_job("billing", "Weekly")
    page = text_of(visitor.get("/jobs/billing/summary").text)
    assert "because Weekly and nightly were deleted. Create those jobs again" in page


def test_a_job_without_a_schedule_is_shown_on_every_page(visitor: Visitor, stage_server: StageServer) -> None:
    run_diamond(stage_server)
    with stage_server.manager() as manager:
        manager.put_job(
            "billing",
            "Late",
            {"after": {"job": "nightly", "on": ["fail", "timeout"]}, "invocation_type": "sns"},
        )
    assert "billing/ Late after nightly (fail, timeout) active" in text_of(visitor.get("/jobs").text)
    assert "billing/ report after invoices and payments active" in text_of(visitor.get("/jobs").text)
    for path in ("/", "/live/now", "/live/days", "/schedules", "/rerun", "/limits?service=billing"):
        assert visitor.get(path).status == 200, path
    of_report = "/jobs/billing/report"
    cancel = text_of(visitor.get(f"{page_of(newest(stage_server, 'report'))}/cancel").text)
    assert "The job goes on running after invoices and payments." in cancel
    rerun = text_of(visitor.get(f"{page_of(newest(stage_server, 'report'))}/rerun").text)
    assert "It gets the results of the same executions before it." in rerun
    for act in ("run", "pause", "resume", "test", "delete", "edit", "backfill"):
        assert visitor.get(f"{of_report}/{act}").status == 200, act
    assert "It runs again after invoices and payments" in text_of(visitor.get(f"{of_report}/resume").text)
    assert "invoices and payments may run after it" in text_of(visitor.get("/jobs/billing/nightly/run").text)
    backfill = visitor.get(f"{of_report}/backfill").text
    assert "has no times to backfill" in backfill
    assert "<form" not in backfill[backfill.index("<main") :]


def test_a_paused_job_of_a_chain_says_until_when_it_does_not_run(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, DIAMOND)
    with stage_server.manager() as manager:
        manager.pause_job("billing", "report", "migration", until="2190-01-01T00:00:00Z")
        manager.pause_job("billing", "invoices", "migration")
    assert "Not before its pause ends." in text_of(visitor.get("/jobs/billing/report").text)
    assert "Not before somebody resumes it." in text_of(visitor.get("/jobs/billing/invoices").text)


def test_a_job_that_runs_after_others_is_edited_in_the_form(
    visitor: Visitor, stage_server: StageServer
) -> None:
    put(stage_server, DIAMOND)
    form = visitor.get("/jobs/billing/report/edit")
    assert 'value="invoices payments"' in form.text
    done = visitor.submit(form, {"after": "invoices payments:fail", "owner": "ann"})
    assert "Changed billing/report, version 2." in done.text
    assert "Runs after invoices and payments (fail)" in text_of(done.text)
