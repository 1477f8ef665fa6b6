"""How many cases a test tries: `make test` tries a few, `make exhaustive` tries all.

A test that uses this has the marker ``samples``, by which `make exhaustive` finds it.
"""

import os

IS_EXHAUSTIVE = os.environ.get("EXHAUSTIVE") == "1"


def cases(few: int, many: int) -> int:
    """The number of cases in this run."""
    return many if IS_EXHAUSTIVE else few
