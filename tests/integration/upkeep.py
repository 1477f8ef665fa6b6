"""Lets the tests, which run in several processes, take turns at the upkeep of the stage that they share."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from local.terraform_provider import LOCAL


@contextmanager
def only_one(upkeep: Literal["reconciler", "sweep"]) -> Iterator[None]:
    """Holds off the reconciler, or the sweep, of other tests. The stage's own rule still runs it."""
    with (LOCAL / f"{upkeep}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
