"""Jobs that use overlap, a limit and chains while executions of the version before still run."""

from dataclasses import dataclass
from itertools import pairwise

from tests.integration.polling import poll
from tests.integration.scenario import FINAL, Json, Scenario

QUEUED, OVERTAKEN = "exclusive", "overtaken"
"""Jobs of the version before whose executions hold the lock of their job during the update."""

LIMIT, LIMITED = "one-at-a-time", ("limited-1", "limited-2")

AFTER: dict[str, dict[str, str]] = {
    "after-sns": {"sns": "success"},
    "after-silent": {"silent": "timeout"},
    "after-two": {"webhook": "success", "heartbeats": "success"},
}
"""The jobs that run after jobs of the version before, and the end of each of these that counts."""

_SECONDS_TO_START = 120
_WAIT: Json = {"ttl_seconds": 900}


@dataclass(frozen=True)
class Begun:
    """What was begun before the executions of the version before have ended."""

    holder: str
    """The execution of the version before that holds the lock of the queue's job."""
    overtaken: str
    waiting: tuple[str, ...]
    """Those that wait behind the holder, in their order."""
    overtaking: str
    limited: tuple[str, ...]
    """The execution that has the only slot, and the one that waits for it."""
    chained_at_ms: int
    """From when on every end of a parent is followed."""

    @property
    def by_job(self) -> dict[str, list[str]]:
        """All of them by their jobs."""
        named: dict[str, list[str]] = {QUEUED: [*self.waiting], OVERTAKEN: [self.overtaking]}
        return named | {name: [each] for name, each in zip(LIMITED, self.limited, strict=True)}


def begin(after: Scenario, known: dict[str, list[str]]) -> Begun:
    """Changes jobs of the version before, makes others, and runs them. What cannot run yet has to wait."""
    holder, overtaken = (_running(after, name, known[name]) for name in (QUEUED, OVERTAKEN))
    after.put_limit(LIMIT, (201,), slots=1)
    after.put(QUEUED, overlap="queue_all", **_WAIT)
    after.put(OVERTAKEN, overlap="cancel_running", **_WAIT)
    # The executions of this one began when nobody knew limits.
    after.put("sns", limit=LIMIT, **_WAIT)
    for name, workflow_type in zip(LIMITED, ("standard", "express"), strict=True):
        after.put(name, limit=LIMIT, workflow_type=workflow_type, **_WAIT)
    for name, parents in AFTER.items():
        wanted = [{"job": parent, "on": [end]} for parent, end in parents.items()]
        after.put(name, (201,), schedule=None, after=wanted, workflow_type="express", **_WAIT)
    chained_at_ms = after.tick_time() + 1000

    waiting = tuple(_run(after, QUEUED, "waiting", holder) for _ in range(2))
    overtaking = _run(after, OVERTAKEN, "waiting", overtaken)
    limited = (_run(after, LIMITED[0], "running"), _run(after, LIMITED[1], "waiting", LIMIT))
    after.wait_for(OVERTAKEN, overtaking, "running", seconds=_SECONDS_TO_START)
    return Begun(holder, overtaken, waiting, overtaking, limited, chained_at_ms)


def _running(after: Scenario, job_name: str, names: list[str]) -> str:
    """The execution of the version before that still runs; its job has a lock, so it is the only one."""
    found = [after.execution_named(job_name, each) for each in names]
    (running,) = (each["execution_id"] for each in found if each is not None and each["status"] == "running")
    return str(running)


def _run(after: Scenario, job_name: str, status: str, waits_for: str = "") -> str:
    """Runs a job by hand; returns the execution_id. Its reason names what it waits for."""
    run = after.post(after.job_path(job_name, "executions"))
    assert run["status"] == status, run
    assert waits_for in run.get("reason", {}).get("detail", ""), run
    return str(run["execution_id"])


def not_as_promised(after: Scenario, known: dict[str, list[str]], begun: Begun) -> list[str]:
    """Lets everything that has begun end; call it once the services succeed. Returns what is wrong."""
    ended = {
        name: after.wait_for(job_name, name, *FINAL, seconds=_SECONDS_TO_START)
        for job_name, names in begun.by_job.items()
        for name in names
    }
    wrong = [
        f"{name} ended as {each['status']}: {each}"
        for name, each in ended.items()
        if each["status"] != "success"
    ]
    lines: list[list[Json | None]] = [
        [after.execution_named(QUEUED, begun.holder), *(ended[each] for each in begun.waiting)],
        [after.execution_named(OVERTAKEN, begun.overtaken), ended[begun.overtaking]],
        [ended[each] for each in begun.limited],
    ]
    for line in lines:
        wrong += not_one_by_one([each for each in line if each is not None])
    for job_name, parents in AFTER.items():
        wrong += _broken_chain(after, known, job_name, parents, begun.chained_at_ms)
    return wrong


def _broken_chain(
    after: Scenario, known: dict[str, list[str]], job_name: str, parents: dict[str, str], since_ms: int
) -> list[str]:
    """Waits until a job has run after its parents; returns what is wrong with that."""

    def is_complete() -> bool:
        return not missing_starts(after.history(job_name), _ends(after, known, parents), parents, since_ms)

    try:
        poll(is_complete, _SECONDS_TO_START, f"start of {job_name}")
    except AssertionError as error:
        return [str(error)]
    return wrong_starts(after.history(job_name), _ends(after, known, parents), parents)


def not_one_by_one(line: list[Json]) -> list[str]:
    """What is wrong with executions of which each had to wait for the end of the one before.

    Those that held a lock have fencing tokens, which rise.
    """
    wrong = []
    for earlier, later in pairwise(line):
        names = f"{later['execution_id']} began before {earlier['execution_id']}"
        if later["service_invoked_at_ms"] < earlier["finished_at_ms"]:
            wrong.append(f"{names} had ended")
        if earlier.get("fencing_token", 0) >= later.get("fencing_token", 1):
            wrong.append(f"{names}, by its fencing_token")
    return wrong


def _ends(after: Scenario, known: dict[str, list[str]], parents: dict[str, str]) -> list[Json]:
    """The executions of the version before of these jobs."""
    found = [after.execution_named(name, each) for name in parents for each in known[name]]
    return [each for each in found if each is not None and "finished_at_ms" in each]


def missing_starts(starts: list[Json], ends: list[Json], parents: dict[str, str], since_ms: int) -> list[str]:
    """The right ends that came since then, were not followed, and had to be.

    Those of one parent are followed each. Of two parents, the last ends of both are never left over: one of
    the two may have ended more often.
    """
    used = {parent["execution_id"] for start in starts for parent in start["parents"]}
    in_order = sorted(ends, key=lambda each: int(each["finished_at_ms"]))
    right = [
        each
        for each in in_order
        if each["status"] == parents[each["job_name"]] and each["finished_at_ms"] > since_ms
    ]
    if len(parents) == 1:
        return [each["execution_id"] for each in right if each["execution_id"] not in used]
    last = {each["job_name"]: each["execution_id"] for each in right}
    return [] if len(last) < len(parents) or used & {*last.values()} else [*last.values()]


def wrong_starts(starts: list[Json], ends: list[Json], parents: dict[str, str]) -> list[str]:
    """What is wrong with the executions that began after others: each end is a right one, and used once."""
    wrong, used = [], set()
    known = {each["execution_id"]: each for each in ends}
    for start in starts:
        if {parent["job"] for parent in start["parents"]} != parents.keys():
            wrong.append(f"{start['execution_id']} began after {start['parents']}")
        for parent in start["parents"]:
            name, status = parent["execution_id"], parents.get(parent["job"])
            if name in known and known[name]["status"] != status:
                wrong.append(f"{start['execution_id']} began after {name}, which is {known[name]['status']}")
            if name in used:
                wrong.append(f"{name} was followed more than once")
            used.add(name)
    return wrong
