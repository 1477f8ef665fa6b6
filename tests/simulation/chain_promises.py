"""What is promised of jobs that run after others: what follows an end, how often, and what is linked.

The jobs are looked at after each write, the starts as they are made. The rest is looked at when all is quiet:
then each end is known, and how start_children dealt with it. A child must be started for an end only if it
has run after its parents in the same way since before that end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.names import job_guid
from tests.simulation.calls import Ended, Invocation
from tests.simulation.plan import SERVICE
from tests.simulation.start_promises import unknown_executions
from tests.stand_ins.dynamodb import Written
from tests.stand_ins.values import from_item

if TYPE_CHECKING:
    from tests.simulation.api import Answer
    from tests.simulation.world import World

type Json = dict[str, Any]

STARTS_CHILDREN = "start_children"
_SLACK_MS = 60_000
"""What delayed calls may add, of the function that ends the parent and of the one that starts the child."""
_SWEEP_MS = 60_000
_ROUNDED_MS = 1000
_SHOWN = 2
_NOTED = ("created_at", "deleted_at", "after", "children")


@dataclass(frozen=True)
class _Job:
    """A job since a time, as far as chains are concerned."""

    since_ms: int
    created_at: str
    deleted_at: str
    """When it was deleted; empty if it is not."""
    after: Mapping[str, Sequence[str]]
    """Its parents, each with the ends after which it runs."""
    children: tuple[str, ...]

    @staticmethod
    def of(job: Json, since_ms: int) -> _Job:
        after = {each["job"]: each["on"] for each in job.get("after", ())}
        deleted_at = job.get("deleted_at", "")
        return _Job(since_ms, job["created_at"], deleted_at, after, tuple(job.get("children", ())))

    @property
    def parents(self) -> Mapping[str, Sequence[str]]:
        """The parents after which it runs, if it is not deleted."""
        return {} if self.deleted_at else self.after


@dataclass(frozen=True)
class Start:
    """A start of a child, as it was made first."""

    at_ms: int
    due: Json

    @property
    def parents(self) -> list[str]:
        """The executions after which it runs."""
        return [parent["execution_id"] for parent in self.due["parents"]]


@dataclass
class _Asked:
    """When start_children was invoked for an execution, and when it had done so without an error."""

    first_ms: int
    done_ms: list[int] = field(default_factory=list)


class Chains:
    """Looks at each write of a job, at each start of a child, and at each end of start_children."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: dict[str, list[_Job]] = defaultdict(list)
        """The history of each job, the oldest first."""
        self._noted: dict[str, Json] = {}
        self._in_chains: dict[str, None] = {}
        """The jobs that are, or were, linked to others."""
        self.starts: dict[str, Start] = {}
        self._asked: dict[str, _Asked] = {}
        self._shown: dict[str, Answer] = {}
        """The chains as the API shows them, by the executions from which they were seen."""
        self._broken: dict[str, None] = {}

    # --- as it happens ------------------------------------------------------------------------------------

    def written(self, changes: Sequence[Written]) -> None:
        """Notes what a write has changed of a job, and looks at the links between all jobs."""
        is_changed = False
        for table, _, new in changes:
            if table != "jobs" or new is None or "job_key" not in new:
                continue
            name = new["job_name"]["S"]
            noted = {each: new[each] for each in _NOTED if each in new}
            if self._noted.get(name) != noted:
                self._noted[name] = noted
                self._jobs[name].append(_Job.of(from_item(noted), self._now_ms))
                if "after" in noted or "children" in noted:
                    self._in_chains[name] = None
                is_changed = is_changed or name in self._in_chains
        if is_changed:
            self._check_links()

    def started(self, invocation: Invocation, due: Json) -> None:
        """Notes the start of a child."""
        if invocation.function == STARTS_CHILDREN:
            known = self.starts.setdefault(due["execution_id"], Start(self._now_ms, due))
            if known.due["parents"] != due["parents"]:
                self._say(f"{due['execution_id']} was started after different executions")

    def asked(self, invocation: Invocation, ended: Ended) -> None:
        """Notes how start_children has dealt with the end of an execution."""
        asked = self._asked.setdefault(invocation.event["execution_id"], _Asked(invocation.began_ms))
        asked.first_ms = min(asked.first_ms, invocation.began_ms)
        if not ended.error:
            asked.done_ms.append(self._now_ms)

    def _check_links(self) -> None:
        """Each job lists the jobs that run after it, deleted or not, and none runs after itself."""
        now = {name: self._jobs[name][-1] for name in self._in_chains}
        for name, job in now.items():
            after_it = sorted(other for other, child in now.items() if name in child.parents)
            if list(job.children) != after_it:
                self._say(f"{name} lists the children {list(job.children)}, and {after_it} run after it")
            if name in _reached([name], lambda each: now[each].parents if each in now else ()):
                self._say(f"{name} runs after itself")

    # --- at the end ---------------------------------------------------------------------------------------

    def look(self) -> None:
        """Asks the API for the chains of some executions that run after others."""
        names = sorted(each["execution_id"] for each in self._world.view.records() if "parents" in each)
        for number in range(min(len(names), _SHOWN)):
            name = str(self._world.choices.one_of(f"chain {number}", names))
            self._world.scheduler.spawn(f"chain {number}", partial(self._ask_for_chain, name, number))
        self._world.scheduler.run()

    def _ask_for_chain(self, name: str, number: int) -> None:
        record = next(each for each in self._world.view.records() if each["execution_id"] == name)
        path = {each: record[each] for each in ("service_name", "job_name", "execution_id")}
        self._shown[name] = self._world.api.request("get_chain", f"chain {number}", path)

    def broken(self) -> Iterator[str]:
        """A sentence for each promise that was broken."""
        yield from self._broken
        if any(job.after for history in self._jobs.values() for job in history):
            records = {record["execution_id"]: record for record in self._world.view.records()}
            yield from _Orphans(self._world, self._jobs).broken()
            yield from _End(self._world, self._jobs, self.starts, self._asked, records).broken()
            for name, answer in self._shown.items():
                yield from _wrong_chain(name, answer, records)

    @property
    def _now_ms(self) -> int:
        return self._world.scheduler.now_ms

    def _say(self, sentence: str) -> None:
        self._world.story.tell("PROMISE", sentence)
        self._broken[sentence] = None


@dataclass(frozen=True)
class _End:
    """All that is known when all is quiet."""

    world: World
    jobs: Mapping[str, list[_Job]]
    starts: Mapping[str, Start]
    asked: Mapping[str, _Asked]
    records: Mapping[str, Json]

    def broken(self) -> Iterator[str]:
        """A sentence for each promise that was broken."""
        for name, start in self.starts.items():
            yield from self._wrong_start(name, start)
            yield from self._unlinked(name, start)
        yield from self._used_twice()
        yield from self._wrong_records()
        for child in self.jobs:
            yield from self._not_started(child)
        yield from self._wrong_notifications()

    # --- what was started ---------------------------------------------------------------------------------

    def _wrong_start(self, name: str, start: Start) -> Iterator[str]:
        """A child is started after ends of all its parents, each of which counts."""
        ends = [self.records.get(parent) for parent in start.parents]
        known = [end for end in ends if end is not None and "finished_at_ms" in end]
        if len(known) < len(ends):
            yield f"{name} was started after executions of which some have not ended"
            return
        for parent, end in zip(start.due["parents"], known, strict=True):
            told = end["job_name"], end["status"]
            if told != (parent["job"], parent["status"]):
                yield f"{name} was started after {parent}, which is {told}"
            if self._was_gone(end):
                yield f"{name} was started after {parent['execution_id']}, whose job was deleted before"
        last_ms = max(end["finished_at_ms"] for end in known)
        first_ms = min(end["finished_at_ms"] for end in known)
        if start.due["scheduled_time"] != iso(last_ms):
            yield f"{name} is due at {start.due['scheduled_time']}, and its last parent ended {iso(last_ms)}"
        depth = 1 + max(end.get("chain_depth", 1) for end in known)
        if start.due["chain_depth"] != depth:
            yield f"{name} is execution {start.due['chain_depth']} of its chain, and not {depth}"
        # If a machine dies as it ends its execution, the sweep does what is left.
        dead = any(self.world.machines.delays(parent["execution_id"]) for parent in start.due["parents"])
        longest_ms = _SLACK_MS + (self.world.grace_ms + 2 * _SWEEP_MS if dead else 0)
        if start.at_ms > last_ms + longest_ms and self.world.is_undisturbed:
            yield f"{name} was started {start.at_ms - last_ms} ms after its last parent ended"
        if start.at_ms < last_ms:
            yield f"{name} was started {last_ms - start.at_ms} ms before its last parent ended"
        ended = {end["job_name"]: end["status"] for end in known}
        child = start.due["job_name"]
        if not any(_runs_after(job, ended, first_ms) for job in self._between(child, last_ms, start.at_ms)):
            yield f"{name} was started after {ended}, and {child} did not run after these ends"

    def _was_gone(self, end: Json) -> bool:
        """Whether the job of an execution was deleted before it ended, even if it was created again."""
        job = self._at(end["job_name"], end["finished_at_ms"])
        if job is None:
            return True
        return bool(job.deleted_at) or end.get("job_created_at", job.created_at) != job.created_at

    def _unlinked(self, name: str, start: Start) -> Iterator[str]:
        """The executions after which a child was started list it."""
        for parent in start.parents:
            if name not in self.records[parent].get("children", ()):
                yield f"{name} was started after {parent}, which does not list it"

    def _used_twice(self) -> Iterator[str]:
        """Each end of a parent starts a child at most once."""
        used: dict[tuple[str, str], str] = {}
        for name, start in self.starts.items():
            for parent in start.parents:
                other = used.setdefault((start.due["job_name"], parent), name)
                if other != name:
                    yield f"{name} was started after {parent}, as {other} was"

    def _wrong_records(self) -> Iterator[str]:
        """A record has the parents with which it was started; a rerun has those of the first run."""
        unknown = unknown_executions(self.world)
        for name in self.starts:
            is_lost = self.world.machines.deaths(name) > 0 or name in unknown
            if name not in self.records and not is_lost:
                yield f"{name} was started after others, and there is no record"
        for name, record in self.records.items():
            if first := self.records.get(record.get("rerun_of", "")):
                if record.get("parents") != first.get("parents"):
                    yield f"{name} is a rerun, and has other parents than {first['execution_id']}"
            elif "parents" in record and name not in self.starts:
                yield f"{name} runs after others, and was not started so"
            elif "parents" in record and record["parents"] != self.starts[name].due["parents"]:
                yield f"{name} has other parents than it was started with"
            if wrong := [each for each in record.get("children", ()) if not self._is_child(each, record)]:
                yield f"{name} lists the children {wrong}, which were not started after it"

    def _is_child(self, child: str, parent: Json) -> bool:
        """Whether a child was started after an execution.

        It may be listed and not started if the child has changed, or if the end of one of its parents is a
        dead letter.
        """
        name = parent["execution_id"]
        if child in self.starts:
            return name in self.starts[child].parents
        history = next(jobs for each, jobs in self.jobs.items() if job_guid(SERVICE, each) in child)
        runs_after = {each for job in history for each in job.parents}
        dead = [self.records[end] for end in self._dead() if end in self.records]
        is_dead = any(end["job_name"] in runs_after for end in dead)
        return is_dead or history[-1].since_ms >= parent["finished_at_ms"]

    def _dead(self) -> set[str]:
        """The executions of which nobody knows what follows: that is a dead letter."""
        letters = self.world.lambdas.dead_letters
        return {event["execution_id"] for function, event in letters if function == STARTS_CHILDREN}

    # --- what had to be started ---------------------------------------------------------------------------

    def _not_started(self, child: str) -> Iterator[str]:
        """A child is started once all its parents have ended since it was started last."""
        parents = self.jobs[child][-1].parents
        if not parents:
            return
        ends = {parent: self._ends_that_count(child, parent) for parent in parents}
        for name in sorted(name for names in ends.values() for name in names):
            if name not in self.asked:
                yield f"{name} has ended, and nobody has asked to start {child} after it"
        starts = [start for start in self.starts.values() if start.due["job_name"] == child]
        used = {parent for start in starts for parent in start.parents}
        if len(ends) == 1:
            (names,) = ends.values()
            for name in sorted(names - used):
                if self._is_done(name):
                    yield f"{name} has ended, and {child} was not started after it"
            return
        latest = [self._latest(parent, names, self.world.scheduler.now_ms) for parent, names in ends.items()]
        if None not in latest and not used & set(latest):
            yield f"{latest} have ended, and {child} was not started after them"
        yield from self._too_few(child, ends, starts)

    def _too_few(self, child: str, ends: Mapping[str, set[str]], starts: list[Start]) -> Iterator[str]:
        """Each time that new ends of all parents have come, the child is started at least once."""
        done = [name for names in ends.values() for name in names if self._is_done(name)]
        since_ms, times = -1, 0
        for at_ms in sorted(min(self.asked[name].done_ms) for name in done):
            latest = [self._latest(parent, names, at_ms) for parent, names in ends.items()]
            if all(name is not None and self.asked[name].first_ms > since_ms for name in latest):
                since_ms, times = at_ms, times + 1
        first_ms = min((self.asked[name].first_ms for name in done), default=0)
        number = sum(start.at_ms >= first_ms for start in starts)
        if number < times:
            yield f"{child} was started {number} times, and new ends of all its parents came {times} times"

    def _latest(self, parent: str, names: set[str], at_ms: int) -> str | None:
        """The latest end of a parent of which start_children knew at a time; None if it did not have to."""
        known = [name for name, asked in self.asked.items() if asked.first_ms <= at_ms]
        of_it = [name for name in known if name in self.records and self.records[name]["job_name"] == parent]
        latest = max(of_it, key=self._order, default=None)
        is_noted = latest in names and self._is_done(latest) and min(self.asked[latest].done_ms) <= at_ms
        return latest if is_noted else None

    def _is_done(self, name: str) -> bool:
        return name in self.asked and bool(self.asked[name].done_ms)

    def _ends_that_count(self, child: str, parent: str) -> set[str]:
        """The ends of a parent after which a job has to run.

        The job was after the same parents since before them, and neither was deleted since. An end of which
        the function died that was to ask for what follows counts, too, but not one that is a dead letter.
        """
        job, before = self.jobs[child][-1], self.jobs[parent][-1]
        if before.deleted_at:
            return set()
        since_ms = max(_since_ms(self.jobs[child], "after"), _since_ms(self.jobs[parent], "created_at"))
        dead = self._dead()
        return {
            name
            for name, record in self.records.items()
            if record["job_name"] == parent
            and record["status"] in job.after[parent]
            and record.get("job_created_at", before.created_at) == before.created_at
            and record["finished_at_ms"] > since_ms + _ROUNDED_MS
            and name not in dead
        }

    def _order(self, name: str) -> tuple[int, str]:
        return self.records[name].get("finished_at_ms", 0), name

    # --- what is told -------------------------------------------------------------------------------------

    def _wrong_notifications(self) -> Iterator[str]:
        """A notification tells of the parents, each with the state with which its execution ended."""
        for told in self.world.service.received:
            record = self.records.get(told.get("execution_id", ""))
            if record is None:
                continue
            parents = told.get("parents")
            of_it = parents and [{key: parent[key] for key in parent if key != "state"} for parent in parents]
            if of_it != record.get("parents"):
                yield f"{record['execution_id']} was notified with the parents {of_it}"
                continue
            for parent in parents or ():
                end = self.records[parent["execution_id"]]
                is_kept = end["status"] == "success" and end["async"]
                if is_kept and parent["execution_id"] not in parent.get("state", ""):
                    yield f"{record['execution_id']} was not told the state of {parent['execution_id']}"

    # --- what is asked for often --------------------------------------------------------------------------

    def _at(self, name: str, at_ms: int) -> _Job | None:
        return next((job for job in reversed(self.jobs[name]) if job.since_ms <= at_ms), None)

    def _between(self, name: str, from_ms: int, until_ms: int) -> Iterator[_Job]:
        """A job as it was in a time, in each of its states."""
        if (job := self._at(name, from_ms)) is not None:
            yield job
        yield from (job for job in self.jobs[name] if from_ms < job.since_ms <= until_ms)


@dataclass(frozen=True)
class _Orphans:
    """Whom a deleted job leaves behind, and whether that is told."""

    world: World
    jobs: Mapping[str, list[_Job]]

    def broken(self) -> Iterator[str]:
        """A sentence for each job that was not told of, or needlessly."""
        left = dict(self._left())
        told = {
            (event["parent"], event["job_name"], event["occurred_at"])
            for event in self.world.topics.events
            if event["event"] == "job.orphaned"
        }
        for parent, child, _ in sorted(told - left.keys()):
            yield f"job.orphaned was published of {child}, and {parent} did not leave it behind"
        for (parent, child, at), is_left in left.items():
            if is_left and (parent, child, at) not in told and not self._is_pending(parent):
                yield f"{parent} was deleted, and no job.orphaned was published of {child}"

    def _left(self) -> Iterator[tuple[tuple[str, str, str], bool]]:
        """Each job that a deleted one left behind, when that was, and whether it is as it was then."""
        for name, history in self.jobs.items():
            for before, job in pairwise(history):
                if job.deleted_at and not before.deleted_at:
                    for child in job.children:
                        is_left = _since_ms(self.jobs[child], "after") <= job.since_ms
                        yield (name, child, job.deleted_at), is_left

    def _is_pending(self, parent: str) -> bool:
        return any(job["job_name"] == parent and "untold_events" in job for job in self.world.view.jobs())


def _wrong_chain(name: str, answer: Answer, records: Mapping[str, Json]) -> Iterator[str]:
    """The chain of an execution has its roots, and all that follows them."""

    def parents(each: str) -> list[str]:
        return [parent["execution_id"] for parent in records[each].get("parents", ())]

    def children(each: str) -> list[str]:
        return [child for child in records[each].get("children", ()) if child in records]

    before = {name, *_reached([name], parents)}
    roots = sorted(each for each in before if not parents(each))
    wanted = before | {*_reached(roots, children)}
    shown = [each["execution_id"] for each in answer.body["executions"]]
    if answer.body["is_cut"] or len(shown) != len(set(shown)) or set(shown) != wanted:
        yield f"the chain of {name} is shown as {sorted(shown)}, and it is {sorted(wanted)}"
    if answer.body["roots"] != roots or shown[: len(roots)] != roots:
        yield f"the chain of {name} begins with {answer.body['roots']}, and it should with {roots}"


def _reached(first: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """All that follow the first ones, those that follow these, and so on."""
    found: set[str] = set()
    new = set(first)
    while new := {each for one in new for each in following(one)} - found:
        found |= new
    return found


def _runs_after(job: _Job, ended: Mapping[str, str], first_ms: int) -> bool:
    """Whether a job runs after such ends, the first of which was then."""
    return (
        job.parents.keys() == ended.keys()
        and all(status in job.parents[name] for name, status in ended.items())
        and ms_of_iso(job.created_at) <= first_ms
    )


def _since_ms(history: list[_Job], name: str) -> int:
    """Since when a job has what it has, without having been deleted meanwhile."""

    def seen(job: _Job) -> tuple[Any, ...]:
        return getattr(job, name), job.deleted_at, job.created_at

    same = takewhile(lambda job: seen(job) == seen(history[-1]), reversed(history))
    return [job.since_ms for job in same][-1]
