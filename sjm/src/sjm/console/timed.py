"""The next times of a schedule: by the clock of its time zone, and as moments for the viewer's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sjm.client import PreviewTime
from sjm.console import words


@dataclass(frozen=True)
class Time:
    """A next time. ``ms`` is its moment since 1970; ``local`` is what the schedule's clock shows then.

    ``is_skipped``: it does not fire, because the clocks go forward over it.
    """

    ms: int
    local: str
    is_skipped: bool = False


def times_of(times: Sequence[PreviewTime] | None, fire_times: Sequence[str] | None) -> list[Time]:
    """The next times as the API tells them. A stage of an earlier version tells only ``fire_times``."""
    if times is None:
        found = ((words.ms_of(each), each) for each in fire_times or ())
        return [Time(ms, _clock(text)) for ms, text in found if ms is not None]
    listed = ((words.ms_of(each["utc"]), each) for each in times)
    return [Time(ms, _clock(each["local"]), each["skipped"]) for ms, each in listed if ms is not None]


def _clock(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at:%a} {at:%Y-%m-%d %H:%M}" + (f":{at:%S}" if at.second else "")
