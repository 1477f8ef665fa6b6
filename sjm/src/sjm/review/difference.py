"""What a wanted job changes of the saved one, field by field, in the order of the API.

The wanted job is the whole job: a field that it does not name goes back to its default, and the difference
says so.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sjm.review.fields import SAVED, Json, keeping_defaults_of_the_stage, overlap_of, with_defaults
from sjm.review.shown import printable, shortened, shown

MAX_LINES = 12
_SHOWN_CHARACTERS = 60
_AROUND = 24  # characters shown on either side of the first difference of two texts
_DEEPEST = 20

_ABSENT = object()


@dataclass(frozen=True)
class FieldChange:
    """A field that changes. ``old`` or ``new`` is None where the job does not have the field.

    ``is_reset``: the wanted job does not name the field, so it goes back to its default.
    """

    field: str
    old: Any
    new: Any
    is_reset: bool = False

    def lines(self) -> list[str]:
        """The change in words, at most ``MAX_LINES`` lines."""
        if self.field == "payload" and isinstance(self.old, str) and isinstance(self.new, str):
            return _lines_of_texts(self.field, self.old, self.new, self._suffix())
        if isinstance(self.old, Mapping) and isinstance(self.new, Mapping):
            return _bounded(
                [f"{self.field}{pointer}: {_arrow(a, b)}" for pointer, a, b in _inside(self.old, self.new)],
                self._suffix(),
            )
        old, new = (_ABSENT if each is None else each for each in (self.old, self.new))
        return [f"{self.field}: {_arrow(old, new)}{self._suffix()}"]

    def _suffix(self) -> str:
        return " (not in the file: back to its default)" if self.is_reset else ""


def difference(wanted: Json, saved: Json | None, resets: Collection[str] = ()) -> list[FieldChange]:
    """The fields that a PUT of ``wanted`` changes; of a new job, those that it names.

    Both are jobs as the API has them; ``saved`` may have more fields, such as ``version``. Their schedules
    are compared as texts, so bring ``wanted`` into the API's canonical form first. ``exclusive`` is compared
    as the ``overlap`` that it means. ``resets`` is as in :func:`keeping_defaults_of_the_stage`.
    """
    if saved is None:
        return [FieldChange(name, None, wanted[name]) for name in SAVED if name in wanted]
    named = keeping_defaults_of_the_stage(wanted, saved, resets)
    new = with_defaults(named)
    # A job that an earlier version stored lacks fields that have a default today.
    old = with_defaults({name: saved[name] for name in SAVED if name in saved})
    for job in (old, new):
        job["overlap"] = overlap_of(job)
        del job["exclusive"]
    if "exclusive" in named:
        named.setdefault("overlap", new["overlap"])
    if "workflow_type" in resets:
        new["workflow_type"] = "the stage's default"
    elif "workflow_type" not in new:
        old.pop("workflow_type", None)
    if "invocation_target" not in new and new.get("invocation_type") == "sns":
        # The target becomes the stage's topic, which only the stage knows.
        new["invocation_target"] = "the stage's topic"
    return [
        FieldChange(name, old.get(name), new.get(name), is_reset=name not in named)
        for name in SAVED
        if not _is_same(old.get(name), new.get(name))
    ]


def _is_same(old: Any, new: Any) -> bool:
    """Whether two values of a field mean the same: the order of ``retry.on`` does not matter."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_is_same(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return sorted(map(str, old)) == sorted(map(str, new))
    return bool(old == new)


def _arrow(old: Any, new: Any) -> str:
    return f"{_value(old)} → {_value(new)}"


def _value(value: Any) -> str:
    return "none" if value is _ABSENT else shown(value, _SHOWN_CHARACTERS)


def _lines_of_texts(field: str, old: str, new: str, suffix: str) -> list[str]:
    """The difference of two payloads: by their names if both are JSON objects, else around its beginning."""
    objects = _objects(old, new) if old and new else None
    if objects is not None:
        changes = [f"{field}{pointer}: {_arrow(a, b)}" for pointer, a, b in _inside(*objects)]
        return _bounded(changes or [f"{field}: written in another way, with the same JSON"], suffix)
    if max(len(old), len(new)) <= _SHOWN_CHARACTERS:
        return [f"{field}: {_arrow(old or _ABSENT, new or _ABSENT)}{suffix}"]
    same = 0
    for a, b in zip(old, new, strict=False):
        if a != b:
            break
        same += 1
    start = max(0, same - _AROUND)
    cut = "…" if start else ""
    before, after = (
        shortened(printable(f"{cut}{text[start : same + _AROUND]}"), _SHOWN_CHARACTERS) for text in (old, new)
    )
    return [
        f"{field}: {len(old)} → {len(new)} characters, from character {same + 1} on{suffix}",
        f"  {before} →",
        f"  {after}",
    ]


def _objects(old: str, new: str) -> tuple[Json, Json] | None:
    try:
        before, after = json.loads(old), json.loads(new)
    except (ValueError, RecursionError):
        return None
    return (before, after) if isinstance(before, dict) and isinstance(after, dict) else None


def _inside(old: Json, new: Json, at: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """The differences of two objects: a pointer, and both values; ``_ABSENT`` where there is none."""
    for name in dict.fromkeys((*old, *new)):
        a, b = old.get(name, _ABSENT), new.get(name, _ABSENT)
        pointer = f"{at}/{shortened(printable(str(name)), _SHOWN_CHARACTERS)}"
        if isinstance(a, Mapping) and isinstance(b, Mapping) and depth < _DEEPEST:
            yield from _inside(a, b, pointer, depth + 1)
        elif a is _ABSENT or b is _ABSENT or not _is_same_json(a, b):
            yield pointer, a, b


def _is_same_json(a: Any, b: Any) -> bool:
    # In Python True equals 1; in JSON it does not.
    return a is b or json.dumps(a) == json.dumps(b)


def _bounded(lines: list[str], suffix: str) -> list[str]:
    if len(lines) > MAX_LINES:
        left = len(lines) - MAX_LINES + 1
        lines = [*lines[: MAX_LINES - 1], f"and {left} more"]
    return [f"{lines[0]}{suffix}", *lines[1:]] if lines else []
