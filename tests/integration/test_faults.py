"""A fault at every call: whatever goes wrong, the stage is whole again afterwards.

First each flow runs twice and undisturbed, and the calls that its functions make each time are noted. Then
for each call, and for each kind of fault, the flow runs again, and the fault befalls that call: it is
throttled once, or refused however often, or done with its answer lost once, or done and the function dies of
it. All these runs go on beside each other, and the sweep runs every few seconds. When all have ended, the
sweep and the reconciler run once more, and the invariants are looked at.

`make faults` and `make exhaustive` do all of this. `make test` draws some calls and faults, and some of the
flows of waiting executions and of chains, by a seed that it prints: FAULTS_SEED=… draws the same.
FAULTS_FLOWS=sweep,cancel takes only the flows with such names.
"""

import logging
import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from botocore.credentials import Credentials

from jobmanager.runtime.logs import logger
from local.api_client import ManagerApi, path_of
from local.faults import plans
from local.faults.plans import Call
from local.faults.worker import FAIL, KILL, KINDS, LOSE
from local.observed_service import ObservedService
from tests.exhaustive import cases
from tests.integration.faulted_runs import FLOWS, Bench, Flow, Run, calls_of, do, forget, wait_until_quiet
from tests.integration.faulted_turns import TURNS, heal, wrong_ends
from tests.integration.invariants import broken_invariants
from tests.integration.stage_view import Stage
from tests.integration.upkeep import only_one

pytestmark = [
    pytest.mark.slow(4),
    pytest.mark.samples,
    pytest.mark.skipif(plans.SETTING not in os.environ, reason="faults need the emulator that we start"),
]

AT_ONCE = 180
FEW = 24
FEW_TURNS = 2
"""How many flows of waiting executions and of chains `make test` draws."""
NOTIFYING = ("http.POST", "sns.Publish")


@pytest.fixture
def bench(
    aws: Any, outputs: dict[str, Any], credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    # What is prepared here would log beside what this test has to say.
    monkeypatch.setattr(logging.getLogger(logger.name), "disabled", True)
    service_name = f"faults-{random.getrandbits(48):012x}"
    api = ManagerApi(outputs["api_url"], credentials, os.environ["AWS_DEFAULT_REGION"])
    with ObservedService(service_name, outputs["notifications_topic_arn"]) as service:
        bench = Bench(aws, outputs, api, service)
        bench.take_settings(monkeypatch)
        yield bench


def test_a_fault_at_any_call_leaves_nothing_stuck_lost_or_done_twice(bench: Bench) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(random.getrandbits(32))
    named = os.environ.get("FAULTS_FLOWS", "")
    names = named.split(",")
    choice = random.Random(seed)
    turns = [flow for flow in TURNS if any(name in flow.name for name in names)]
    few = len(turns) if named else min(FEW_TURNS, len(turns))
    turns = choice.sample(turns, cases(few, len(turns)))
    flows = [*(flow for flow in FLOWS if any(name in flow.name for name in names)), *turns]
    undisturbed = [bench.run(flow) for flow in flows * 2]
    do(bench, undisturbed)
    wait_until_quiet(bench, undisturbed)
    calls = calls_of(bench, undisturbed)
    print(f"FAULTS_SEED={seed}")
    for name, own in calls.items():
        print(f"{name}: {len(own)} calls: {', '.join(f'{call.step} {call.call}' for call in own)}")
    assert [name for name, own in calls.items() if not own] == []

    every = [(flow, call, kind) for flow in flows for call in calls[flow.name] for kind in KINDS]
    always = [drawn for drawn in every if is_settled_again(bench, *drawn)]
    others = [drawn for drawn in every if drawn not in always]
    drawn = always + choice.sample(others, cases(min(FEW, len(others)), len(others)))
    runs = [bench.run(*each) for each in choice.sample(drawn, len(drawn))]
    started = time.monotonic()
    wrong: list[str] = []
    unmade: list[str] = []
    # A stage has only so many schedules.
    if len(undisturbed) + len(runs) > AT_ONCE:
        wrong += afterwards(bench, undisturbed)
        print("undisturbed:", *wrong or ["all is well"], sep="\n")
        undisturbed = []
    for start in range(0, len(runs), AT_ONCE):
        batch = runs[start : start + AT_ONCE]
        do(bench, batch)
        wait_until_quiet(bench, batch)
        # What was due came to an end before its call, on a machine with much other work: that shows nothing.
        again = [bench.run(run.flow, run.call, run.kind) for run in batch if not run.happened()]
        if again:
            do(bench, again)
            wait_until_quiet(bench, again)
        unmade += [f"{run}: the call was not made" for run in again if not run.happened()]
        found = afterwards(bench, [*undisturbed, *batch, *again])
        print(
            f"{start + len(batch)} of {len(runs)} runs: {time.monotonic() - started:.0f} s", *found, sep="\n"
        )
        wrong += found
    print(f"{len(runs)} runs with a fault: {time.monotonic() - started:.0f} s")
    assert not wrong, f"with FAULTS_SEED={seed}:\n" + "\n".join(wrong)
    # A call that only chance brought about, such as a look at a rule that another was just making, need not
    # come again; nearly all must.
    assert len(unmade) <= len(runs) // 50, f"with FAULTS_SEED={seed}:\n" + "\n".join(unmade)


def is_settled_again(bench: Bench, flow: Flow, call: Call, kind: str) -> bool:
    """Whether the fault has a function settle an execution that is settled in part already.

    No other test needs the permissions for that, so every run of the tests draws these faults. Those of
    Express executions need no others.
    """
    settling = ("cancel_execution", "finish_execution", "receive_callback")
    is_needed = kind == KILL and call.function in map(bench.function, settling) and not flow.is_of_turns
    return is_needed and flow.job.get("workflow_type") != "express"


def afterwards(bench: Bench, runs: Sequence[Run]) -> list[str]:
    """What is wrong when the stage has looked after itself; removes the jobs."""
    look_after_itself(bench, runs)
    wrong = [*broken(bench, runs), *unhealed(runs, bench)]
    wrong += [sentence for run in runs if run.flow.is_of_turns for sentence in wrong_ends(bench, run)]
    forget(runs)
    return wrong


def look_after_itself(bench: Bench, runs: Sequence[Run]) -> None:
    """Makes all open executions overdue. Then the sweep runs once, and the reconciler once.

    What waits for its turn may take more sweeps: :func:`heal`.
    """
    bench.make_overdue(run for run in runs if not run.flow.is_of_turns)
    bench.sweep()
    wait_until_quiet(bench, runs)
    heal(bench, [run for run in runs if run.flow.is_of_turns])
    with only_one("reconciler"):
        answer = bench.api.request("POST", path_of("schedules", "reconcile"))
    assert (answer.status, answer.body["complete"]) == (200, True)
    wait_until_quiet(bench, runs)


def broken(bench: Bench, runs: Sequence[Run]) -> list[str]:
    """What is broken, with the run whose it is where that can be told."""
    guids = {guid for run in runs for guid in run.guids.values()}
    acknowledged = [
        (called.notification["execution_id"], called.notification["attempt"], called.body["status"])
        for called in bench.service.callbacks
        if called.answer.is_taken and called.body["status"] in ("success", "fail")
        if called.notification["job_guid"] in guids
    ]
    received = [
        each.notification
        for each in bench.service.received
        if each.outcome != "tested" and each.notification["job_guid"] in guids
    ]
    lost = {guid for run in runs if is_answer_lost(run, bench) for guid in run.guids.values()}
    found = broken_invariants(
        Stage(bench.aws, bench.outputs),
        {run.service_name for run in runs},
        received=received,
        excused={(e["execution_id"], e["attempt"]) for e in received if e["job_guid"] in lost},
        acknowledged=acknowledged,
        schedules={run.schedule for run in runs},
    )
    named = {name: str(run) for run in runs for name in (*run.guids.values(), run.job_name, run.schedule)}
    return [
        "; ".join(dict.fromkeys([sentence, *(named[name] for name in named if name in sentence)]))
        for sentence in found
    ]


def is_answer_lost(run: Run, bench: Bench) -> bool:
    """Whether nobody could know that the service was notified.

    An Express execution that cannot note that it notified the service, does so once more.
    """
    if run.call is None or run.call.function != bench.function("run_execution"):
        return False
    if run.kind == FAIL:
        return run.is_express and run.call.call.startswith("dynamodb.UpdateItem")
    return run.kind in (LOSE, KILL) and run.call.call.startswith(NOTIFYING)


def is_test_in_vain(run: Run) -> bool:
    """A target is tried once, and what was seen is told: the PUT is 422, and may be repeated."""
    is_test = run.call is not None and run.call.call.startswith(NOTIFYING) and "test-target" in run.call.step
    return is_test and run.answers[-1] == 422


def is_deletion_in_vain(run: Run) -> bool:
    """A DELETE of a limit whose answer was lost is repeated, and finds nothing."""
    return run.flow.name == "limit-deleted" and run.answers[-1] == 404


def unhealed(runs: Sequence[Run], bench: Bench) -> list[str]:
    """What a fault that came once has left: retries make up for that, and all ends as it should."""
    wrong = []
    for run in runs:
        if run.kind == FAIL:
            continue
        ends = tuple(record["status"] for record in bench.records(run))
        if ends != run.flow.ends:
            wrong.append(f"{run} ended as {ends}, and should have as {run.flow.ends}")
        is_well = not run.answers or 200 <= run.answers[-1] < 300
        if not (is_well or is_test_in_vain(run) or is_deletion_in_vain(run)):
            wrong.append(f"{run} was answered {run.answers}")
    return wrong
