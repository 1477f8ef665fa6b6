"""Time zones by their names in the IANA database.

The rules of the zones come from the pinned package tzdata, and never from the system. Lambda's runtime may
have none, and all functions of a stage must agree. EventBridge Scheduler uses the same database:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#time-zones

Nothing is imported and no file is read for UTC, so that it costs no cold start.
"""

from datetime import UTC as UTC_ZONE
from datetime import tzinfo
from functools import cache
from importlib import import_module
from pathlib import Path

from jobmanager.schedules.expression import InvalidSchedule

UTC = "UTC"
# CreateSchedule's limit for ScheduleExpressionTimezone:
# https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
_MAX_CHARACTERS = 50
_MAX_SUGGESTIONS = 3
# It is the database's own word for "not set", and no place.
_NO_ZONES = ("Factory",)


class InvalidTimeZone(InvalidSchedule):
    """The IANA database has no such time zone; the message says what was expected, with the nearest names."""


def canonical_zone(name: str) -> str:
    """Returns the name of a time zone as the IANA database spells it. Raises InvalidTimeZone.

    Only the case may differ. A link keeps its own name (``US/Eastern``), because a schedule names its zone as
    its owner does.
    """
    if name.upper() == UTC:
        return UTC
    if found := _names().get(name.lower()):
        return found
    shown = name if len(name) <= _MAX_CHARACTERS else f"{name[:_MAX_CHARACTERS]}…"
    expected = "expected a name of the IANA time zone database, such as Europe/Berlin"
    nearest = _nearest(name[:_MAX_CHARACTERS])
    hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
    raise InvalidTimeZone(f"{shown!r} is not a time zone: {expected}{hint}")


@cache
def zone_of(name: str) -> tzinfo:
    """Returns the time zone of a canonical name. Raises InvalidTimeZone for any other."""
    if name == UTC:
        return UTC_ZONE
    if name not in _names().values():
        raise InvalidTimeZone(f"{name!r} is not the canonical name of a time zone")
    from zoneinfo import ZoneInfo

    with (_data() / "zoneinfo" / name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def _names() -> dict[str, str]:
    """The names of all zones, by their names in lower case."""
    names = (_data() / "zones").read_text("ascii").split()
    return {name.lower(): name for name in names if name not in _NO_ZONES}


@cache
def _data() -> Path:
    return Path(import_module("tzdata").__path__[0])


def _nearest(name: str) -> list[str]:
    """Returns the names that are most similar to a wrong one, or that name a place as it does."""
    from difflib import get_close_matches

    names = _names()
    wanted = name.strip().lower().replace(" ", "_")
    by_place: dict[str, list[str]] = {}
    for lower in names:
        by_place.setdefault(lower.rpartition("/")[2], []).append(lower)
    places = get_close_matches(wanted.rpartition("/")[2], by_place, _MAX_SUGGESTIONS, 0.75)
    same_place = [lower for place in places for lower in by_place[place]]
    found = [*get_close_matches(wanted, names, 1, 0.85), *same_place]
    found += get_close_matches(wanted, names, _MAX_SUGGESTIONS)
    return [names[lower] for lower in dict.fromkeys(found)][:_MAX_SUGGESTIONS]
