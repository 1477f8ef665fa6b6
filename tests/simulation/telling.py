"""Prints a broken run for people."""

import re
from collections.abc import Iterator

from jobmanager.core.names import job_guid
from tests.simulation.plan import SERVICE
from tests.simulation.run import Outcome

_READS = re.compile(r": (GetItem|BatchGetItem|Query|List\w+|Describe\w+) [^:]*(:[^:]*)*: done$")
_STAMP = re.compile(r"-\d{8}T(\d\d)(\d\d)(\d\d)Z")
_TALK = re.compile(r"(: (begins|ends)$|: is answered 200$|: succeeds in )")


def told(outcome: Outcome) -> Iterator[str]:
    """The lines: what was done, what went wrong on the way, what happened, and what is broken."""
    schedule = outcome.schedule
    names = {job_guid(SERVICE, action.job_name): action.job_name for action in schedule.actions}

    def named(line: str) -> str:
        for guid, name in names.items():
            line = line.replace(f"{guid} {guid}", guid).replace(guid, name)
        return _STAMP.sub(r" \1:\2:\3", line)

    yield f"seed {schedule.seed}: what is done"
    yield from (f"  {named(str(action))}" for action in sorted(schedule.actions, key=lambda a: a.at_ms))
    yield "what goes wrong"
    yield from (named(f"  {label}: {what}") for label, what in schedule.deviations.items())
    yield "what happens"
    yield from (named(f"  {line}") for line in outcome.story if _is_interesting(line))
    yield "what is broken"
    yield from (f"  {named(sentence)}" for sentence in outcome.broken)


def _is_interesting(line: str) -> bool:
    return not (_READS.search(line) or _TALK.search(line)) or " late" in line or "no answer" in line
