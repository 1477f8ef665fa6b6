"""The fields of a job as you PUT it, in the API's order, with their limits and defaults.

A test compares them with the schema of the API.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sjm.review.after import canonical_after

Json = Mapping[str, Any]

MAX_PAYLOAD_BYTES = 32 * 1024
MAX_PARENTS = 10
MAX_TAGS = 50
MAX_TAG_NAME = 128
MAX_TAG_VALUE = 256
SYNC_TTL_SECONDS = 60
TTL_SECONDS = 300


@dataclass(frozen=True)
class Text:
    """A text of ``low`` to ``high`` characters."""

    low: int = 0
    high: int | None = None

    def expected(self) -> str:
        """What the field expects, for messages."""
        return "a text" if self.high is None else f"a text of {self.low} to {self.high} characters"

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        return (
            isinstance(value, str)
            and self.low <= len(value)
            and (self.high is None or len(value) <= self.high)
        )


@dataclass(frozen=True)
class OneOf:
    """One of several texts."""

    values: tuple[str, ...]

    def expected(self) -> str:
        """What the field expects, for messages."""
        return " or ".join(self.values)

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        return value in self.values


@dataclass(frozen=True)
class Bool:
    """True or false."""

    def expected(self) -> str:
        """What the field expects, for messages."""
        return "true or false"

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``, a whole one unless ``is_whole`` is false."""

    low: int
    high: int
    is_whole: bool = True

    def expected(self) -> str:
        """What the field expects, for messages."""
        return f"a {'whole ' if self.is_whole else ''}number from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        is_number = isinstance(value, int if self.is_whole else int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class Texts:
    """A list of different texts, each one of ``values``, and at least one."""

    values: tuple[str, ...]

    def expected(self) -> str:
        """What the field expects, for messages."""
        return f"a list of {' and '.join(self.values)}, each at most once"

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        if not isinstance(value, list) or not value:
            return False
        return all(each in self.values for each in value) and len(set(value)) == len(value)


@dataclass(frozen=True)
class Tags:
    """An object of texts."""

    def expected(self) -> str:
        """What the field expects, for messages."""
        return (
            f"at most {MAX_TAGS} names of 1 to {MAX_TAG_NAME} characters, each with a text of at most"
            f" {MAX_TAG_VALUE}"
        )

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        return (
            isinstance(value, dict)
            and len(value) <= MAX_TAGS
            and all(isinstance(name, str) and 1 <= len(name) <= MAX_TAG_NAME for name in value)
            and all(isinstance(each, str) and len(each) <= MAX_TAG_VALUE for each in value.values())
        )


@dataclass(frozen=True)
class After:
    """The jobs after which a job runs: one, or a list of several."""

    ends: tuple[str, ...]

    def expected(self) -> str:
        """What the field expects, for messages."""
        return (
            f"a job, as an object with job and, if not after a success, on, a list of {', '.join(self.ends)};"
            f" or a list of at most {MAX_PARENTS} of these"
        )

    def accepts(self, value: object) -> bool:
        """Whether the field may have the value."""
        parents = value if isinstance(value, list) else [value]
        return 1 <= len(parents) <= MAX_PARENTS and all(self._accepts_one(each) for each in parents)

    def _accepts_one(self, parent: object) -> bool:
        return (
            isinstance(parent, Mapping)
            and parent.keys() <= {"job", "on"}
            and Text(1, 64).accepts(parent.get("job"))
            and ("on" not in parent or Texts(self.ends).accepts(parent["on"]))
        )


Kind = Text | OneOf | Bool | Number | Texts | Tags | After

RETRY: Mapping[str, Kind] = {
    "max_attempts": Number(1, 10),
    "interval_seconds": Number(1, 3600),
    "backoff_rate": Number(1, 10, is_whole=False),
    "on": Texts(("fail", "timeout")),
}
CATCH_UP_WINDOW_SECONDS = 86_400
OVERLAPS = ("allow", "skip", "queue_one", "queue_all", "cancel_running")
RETRY_DEFAULTS: Json = {"interval_seconds": 60, "backoff_rate": 2, "on": ["fail"]}

# `retry` has fields of its own, so it is an object of kinds.
FIELDS: Mapping[str, Kind | Mapping[str, Kind]] = {
    "schedule": Text(1, 256),
    "after": After(("success", "fail", "timeout", "cancelled")),
    "time_zone": Text(1, 50),
    "start_at": Text(0, 64),
    "end_at": Text(0, 64),
    "invocation_type": OneOf(("http", "sns")),
    "invocation_target": Text(1, 2048),
    "payload": Text(),
    "async": Bool(),
    "test_invocation": Bool(),
    "enabled": Bool(),
    "exclusive": Bool(),
    "overlap": OneOf(OVERLAPS),
    "ttl_seconds": Number(10, 43_200),
    "heartbeat_interval_seconds": Number(5, 43_200),
    "alert_after_failures": Number(1, 100),
    "pause_after_failures": Number(1, 100),
    "warn_after_seconds": Number(10, 2_591_999),
    "max_duration_seconds": Number(11, 2_592_000),
    "retry": RETRY,
    "catch_up": OneOf(("none", "one", "all")),
    "catch_up_window_seconds": Number(60, 2_592_000),
    "spread_seconds": Number(0, 3600),
    "limit": Text(1, 64),
    "workflow_type": OneOf(("standard", "express")),
    "starting_deadline_seconds": Number(1, 86_400),
    "description": Text(0, 1024),
    "owner": Text(1, 256),
    "tags": Tags(),
}
REQUIRED = ("invocation_type",)
# A job has one of these.
STARTS = ("schedule", "after")
# A field of one request only, which no job keeps.
UNSAVED = frozenset({"test_invocation"})
SAVED = tuple(name for name in FIELDS if name not in UNSAVED)

_DEFAULTS: Json = {
    "payload": "",
    "async": True,
    "enabled": True,
    "ttl_seconds": TTL_SECONDS,
    "max_duration_seconds": 86_400,
    "catch_up": "none",
}


def with_defaults(job: Json) -> dict[str, Any]:
    """The job as the API keeps it, as far as that is known without the stage.

    Two defaults belong to the stage: ``workflow_type``, and ``invocation_target`` of a job over SNS. A job
    that does not name them does not get them here.
    """
    of_sync = {"ttl_seconds": SYNC_TTL_SECONDS} if job.get("async") is False else {}
    whole: dict[str, Any] = {**_DEFAULTS, **of_sync, **job}
    if "after" in job:
        whole["after"] = canonical_after(job["after"])
        whole.pop("catch_up")
    elif whole["catch_up"] == "all":
        whole.setdefault("catch_up_window_seconds", CATCH_UP_WINDOW_SECONDS)
    if isinstance(job.get("retry"), Mapping):
        whole["retry"] = {**RETRY_DEFAULTS, **job["retry"]}
    whole["exclusive"] = overlap_of(job) != "allow"
    # These the API keeps as if they were left out.
    unsaid = (("time_zone", "UTC"), ("spread_seconds", 0), ("overlap", "allow"), ("overlap", "skip"))
    whole = {name: value for name, value in whole.items() if (name, value) not in unsaid}
    return {name: whole[name] for name in SAVED if name in whole}


def overlap_of(job: Json) -> str:
    """What a job does if it is due while it runs. ``exclusive`` is an older name for two of the kinds."""
    return str(job.get("overlap", "skip" if job.get("exclusive") else "allow"))


def keeping_defaults_of_the_stage(
    wanted: Json, saved: Json | None, resets: Collection[str] = ()
) -> dict[str, Any]:
    """The wanted job, with what the saved one has where only the stage knows the default.

    So a job file that does not name ``workflow_type`` changes no job's type. ``resets`` names fields for
    which the stage's default is wanted.
    """
    kept: dict[str, Any] = dict(wanted)
    if saved is None:
        return kept
    if "workflow_type" in saved and "workflow_type" not in resets:
        kept.setdefault("workflow_type", saved["workflow_type"])
    is_still_sns = wanted.get("invocation_type") == saved.get("invocation_type") == "sns"
    if is_still_sns and "invocation_target" not in resets:
        kept.setdefault("invocation_target", saved.get("invocation_target"))
    return {name: kept[name] for name in FIELDS if name in kept}


def errors_of(job: Json) -> Iterator[tuple[str, str]]:
    """What is wrong with a job: a pointer such as ``/retry/on``, and what was expected.

    The API checks the rest: the schedule, the target, and what a field of another kind of job may not have.
    """
    yield from _errors_of_object(job, FIELDS, "")
    if all(name in job for name in STARTS):
        yield "/after", "expected either schedule or after, not both"
    elif not any(name in job for name in STARTS):
        yield "/schedule", "this field is required, unless the job has after"
    for name in REQUIRED:
        if name not in job:
            yield f"/{name}", "this field is required"
    if isinstance(job.get("retry"), Mapping) and "max_attempts" not in job["retry"]:
        yield "/retry/max_attempts", "this field is required"
    if job.get("invocation_type") == "http" and "invocation_target" not in job:
        yield "/invocation_target", "this field is required if invocation_type is http"
    overlap, exclusive = job.get("overlap"), job.get("exclusive")
    if overlap in OVERLAPS and isinstance(exclusive, bool) and exclusive != (overlap != "allow"):
        kinds = OVERLAPS[1:] if exclusive else OVERLAPS[:1]
        given = in_words(exclusive)
        yield "/overlap", f"expected {' or '.join(kinds)} if exclusive is {given}, or no exclusive"
    payload = job.get("payload")
    if isinstance(payload, str) and len(payload.encode("utf-8", "surrogatepass")) > MAX_PAYLOAD_BYTES:
        yield "/payload", f"expected at most {MAX_PAYLOAD_BYTES} bytes"


def _errors_of_object(
    value: Json, kinds: Mapping[str, Kind | Mapping[str, Kind]], at: str
) -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        kind = kinds.get(name)
        pointer = f"{at}/{name}"
        if kind is None:
            yield pointer, f"unknown field: expected one of {', '.join(kinds)}"
        elif isinstance(kind, Mapping):
            if isinstance(each, Mapping):
                yield from _errors_of_object(each, kind, pointer)
            else:
                yield pointer, f"expected an object with {', '.join(kind)}, not {in_words(each)}"
        elif not kind.accepts(each):
            yield pointer, f"expected {kind.expected()}, not {in_words(each)}"


def in_words(value: object) -> str:
    """A value of a file for a message: its JSON, or what it is if that is long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:50]}…, {len(text)} characters"
