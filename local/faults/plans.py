"""The plans of faults that a test writes, and the calls that functions recorded."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.faults.worker import key_of

SETTING = "FAULTS_DIRECTORY"

RUN = "run"
TWICE, AGAIN, DIES_BEFORE, DIES_AFTER = KINDS_OF_EXPRESS = ("twice", "again", "dies before", "dies after")
"""Faults of an Express execution, for a `Call` whose step is the name of the machine.

AWS may run one more than once, or lose its state. The call `run` is run twice at once, or again after its
end, both times as one execution with one ARN. At a call as `Begin#1`, the first attempt of the task `Begin`,
the execution dies before or after the task. It leaves no trace. Its input must name a subject of the plan.
https://docs.aws.amazon.com/step-functions/latest/dg/express-at-least-once-execution.html
"""


@dataclass(frozen=True)
class Call:
    """One call: its function (``step``), its operation and number there, and its subject if one was named."""

    step: str
    call: str
    about: str = ""

    @property
    def function(self) -> str:
        """The function. A step may also say which of its invocations: see `worker`."""
        return self.step.partition(":")[0]


@dataclass(frozen=True)
class Fault:
    """A fault at a call. Without a kind nothing fails, but the subject's calls are counted separately.

    A call whose content has one of ``texts`` is ``about`` the fault's subject.
    """

    call: Call
    kind: str
    texts: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: uuid4().hex)

    def happened(self) -> bool:
        """Whether the call was made and the fault hit it."""
        return (_directory() / f"{self.name}.happened").exists()


def plan(subjects: Iterable[str], faults: Iterable[Fault] = ()) -> None:
    """Records the calls of invocations about these subjects from now on, and makes the faults hit them."""
    content = json.dumps(
        [
            {
                "name": fault.name,
                "kind": fault.kind,
                "step": fault.call.step,
                "call": fault.call.call,
                "about": fault.call.about,
                "texts": fault.texts,
            }
            for fault in faults
        ]
    )
    for subject in subjects:
        path = _directory() / f"{key_of(subject)}.json"
        written = path.with_suffix(".new")
        written.write_text(content)
        written.rename(path)


def forget(subjects: Iterable[str]) -> None:
    """Ends the faults and the recording for invocations about these subjects."""
    for subject in subjects:
        (_directory() / f"{key_of(subject)}.json").unlink(missing_ok=True)


def calls_seen(subjects: Iterable[str]) -> list[Call]:
    """The distinct calls of invocations about these subjects, in order of arrival."""
    recorded: list[dict[str, Any]] = []
    for subject in subjects:
        path = _directory() / f"{key_of(subject)}.calls"
        recorded += map(json.loads, path.read_text().splitlines()) if path.exists() else []
    return list(dict.fromkeys(Call(each["step"], each["call"], each["about"]) for each in recorded))


def _directory() -> Path:
    return Path(os.environ[SETTING])
