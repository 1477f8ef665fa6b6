"""Time zones, by their names in the IANA database, which AWS uses too.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#time-zones
Their rules come from the package tzdata. Those of a machine may be older, and say another time.
"""

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@cache
def names() -> frozenset[str]:
    """All names."""
    return frozenset((files("tzdata") / "zones").read_text("ascii").split())


@cache
def zone(name: str) -> ZoneInfo:
    """The zone with one of these names."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
