"""Who looks: the time zone and the colours that the browser has told, and the present."""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Literal

from markupsafe import Markup
from starlette.requests import Request

from sjm.console import words

ZONE_COOKIE = "sjm-zone"
THEME_COOKIE = "sjm-theme"

Theme = Literal["auto", "light", "dark"]


@dataclass(frozen=True)
class Viewer:
    """``zone`` is None for this machine's. ``now_ms`` is in milliseconds since 1970."""

    zone: tzinfo | None
    theme: Theme
    now_ms: int

    @property
    def zone_name(self) -> str:
        """The zone in which times are shown."""
        return words.zone_name(self.zone, self.now_ms)

    @property
    def offset_minutes(self) -> int:
        """How far the zone is ahead of UTC now. The browser compares it with its own."""
        offset = words.local(self.now_ms, self.zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds() / 60)

    def time(self, ms: float | None) -> Markup:
        """A time as people say it; the exact one on hover. Empty if there is none."""
        return self._time(ms, "" if ms is None else words.clock(ms, self.zone, self.now_ms))

    def second(self, ms: float | None) -> Markup:
        """A time as people say it, with its second. Empty if there is none."""
        return self._time(ms, "" if ms is None else words.clock(ms, self.zone, self.now_ms, seconds=True))

    def distance(self, ms: float | None) -> Markup:
        """How far away a time is. The browser keeps it up to date."""
        return self._time(ms, "" if ms is None else words.distance(ms - self.now_ms), 'data-distance="" ')

    def since(self, ms: float | None) -> Markup:
        """How long something has lasted. The browser keeps it up to date."""
        return self._time(ms, "" if ms is None else words.duration(self.now_ms - ms), 'data-since="" ')

    def _time(self, ms: float | None, text: str, kind: str = "") -> Markup:
        if ms is None:
            return Markup("")
        iso = words.local(ms, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Markup('<time {}datetime="{}" data-ms="{}" title="{}">{}</time>').format(
            Markup(kind), iso, round(ms), words.exact(ms, self.zone), text
        )


def viewer_of(request: Request, now_ms: int) -> Viewer:
    """The viewer whom the cookies describe. Cookies that are not valid count as absent."""
    theme = request.cookies.get(THEME_COOKIE, "auto")
    known: Theme = "light" if theme == "light" else "dark" if theme == "dark" else "auto"
    return Viewer(words.zone_of(request.cookies.get(ZONE_COOKIE)), known, now_ms)
