"""The plans of faults, as a test writes them, and what the functions noted meanwhile."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.faults.worker import key_of

SETTING = "FAULTS_DIRECTORY"


@dataclass(frozen=True)
class Call:
    """One call: in which function, the how manyth of its kind there, and about what if that was asked for."""

    step: str
    call: str
    about: str = ""


@dataclass(frozen=True)
class Fault:
    """What befalls a call; without a kind nothing, but what is about the same is counted apart.

    ``texts``: a call of which the content has one of these is ``about`` it.
    """

    call: Call
    kind: str
    texts: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: uuid4().hex)

    def happened(self) -> bool:
        """Whether the call was made, and the fault befell it."""
        return (_directory() / f"{self.name}.happened").exists()


def plan(subjects: Iterable[str], faults: Iterable[Fault] = ()) -> None:
    """From now on calls of invocations about one of the subjects are noted, and those faults befall them."""
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
    """Nothing befalls invocations about these subjects any more, and nothing is noted of them."""
    for subject in subjects:
        (_directory() / f"{key_of(subject)}.json").unlink(missing_ok=True)


def calls_seen(subjects: Iterable[str]) -> list[Call]:
    """The different calls that invocations about the subjects have made, in the order of their coming."""
    noted: list[dict[str, Any]] = []
    for subject in subjects:
        path = _directory() / f"{key_of(subject)}.calls"
        noted += map(json.loads, path.read_text().splitlines()) if path.exists() else []
    return list(dict.fromkeys(Call(each["step"], each["call"], each["about"]) for each in noted))


def _directory() -> Path:
    return Path(os.environ[SETTING])
