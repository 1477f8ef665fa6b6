"""The fields of a job as options, and how a change keeps the fields that it does not name."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from sjm.review.after import parent_of_text
from sjm.review.fields import OVERLAPS, SAVED, STARTS

if TYPE_CHECKING:
    from sjm.client import Job, SavedJob

RETRY = {
    "retry_max_attempts": "max_attempts",
    "retry_interval_seconds": "interval_seconds",
    "retry_backoff_rate": "backoff_rate",
    "retry_on": "on",
}
# Two names for one thing: a change of one replaces the other.
_OVERLAP = ("exclusive", "overlap")
_OF_SCHEDULES = (
    "schedule",
    "time_zone",
    "start_at",
    "end_at",
    "catch_up",
    "catch_up_window_seconds",
    "spread_seconds",
)
_REQUIRED = ("schedule", "after", "invocation_type")


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("expected a number")
    return value


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not a tag. Expected NAME=VALUE, such as team=payments.")
    return name, value


def _after(text: str) -> dict[str, Any]:
    parent = parent_of_text(text)
    if not parent["job"] or parent["on"] == [""]:
        raise click.BadParameter(
            f"{text!r} is no job. Expected JOB or JOB:END, such as nightly:fail,timeout."
        )
    return parent


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option for each field of a job, from which :func:`changed` makes the job."""
    whole = {"type": int, "metavar": "SECONDS"}
    options: list[tuple[list[str], dict[str, Any]]] = [
        (
            ["--schedule"],
            {"metavar": "SCHEDULE", "help": "rate(5 minutes), cron(0 2 * * ? *) or at(2026-12-24T18:00:00)."},
        ),
        (
            ["--after"],
            {
                "multiple": True,
                "metavar": "JOB[:END,…]",
                "type": _after,
                "help": "Instead of a schedule: run after this job of the service, such as nightly or"
                " nightly:fail,timeout. Several: after all of them.",
            },
        ),
        (["--time-zone"], {"metavar": "ZONE", "help": "Whose clock it goes by, such as Europe/Berlin."}),
        (
            ["--start-at"],
            {"metavar": "TIME", "help": "It fires only from then on. A rate is counted from it."},
        ),
        (["--end-at"], {"metavar": "TIME", "help": "It fires only until then."}),
        (
            ["--target", "invocation_target"],
            {"metavar": "TARGET", "help": "A URL, or the ARN of an SNS topic."},
        ),
        (
            ["--type", "invocation_type"],
            {
                "type": click.Choice(["http", "sns"]),
                "help": "How the service is notified. By default, as the target says; without one, sns.",
            },
        ),
        (["--payload"], {"metavar": "TEXT", "help": "Passed on to the service unchanged."}),
        (["--payload-file"], {"type": click.File("rb"), "help": "A file with the payload; - is stdin."}),
        (["--enabled/--disabled", "enabled"], {"default": None, "help": "Whether it fires."}),
        (
            ["--overlap"],
            {"type": click.Choice(OVERLAPS), "help": "What happens if it is due while it runs."},
        ),
        (
            ["--exclusive/--not-exclusive", "exclusive"],
            {"default": None, "help": "Older names for --overlap skip and --overlap allow."},
        ),
        (
            ["--async/--sync", "async"],
            {"default": None, "help": "--sync: the answer to the webhook is the result."},
        ),
        (["--ttl-seconds"], {**whole, "help": "How long the service may be silent."}),
        (["--heartbeat-interval-seconds"], {**whole, "help": "A tighter limit to silence."}),
        (["--max-duration-seconds"], {**whole, "help": "How long an execution may last in all."}),
        (["--starting-deadline-seconds"], {**whole, "help": "How late an execution may start."}),
        (["--alert-after-failures"], {"type": int, "metavar": "N", "help": "Alert after so many in a row."}),
        (
            ["--pause-after-failures"],
            {"type": int, "metavar": "N", "help": "Pause the job after so many in a row."},
        ),
        (["--warn-after-seconds"], {**whole, "help": "Publish an event if an execution runs longer."}),
        (["--retry-max-attempts"], {"type": int, "metavar": "N", "help": "Attempts, the first included."}),
        (["--retry-interval-seconds"], {**whole, "help": "The wait before the second attempt."}),
        (
            ["--retry-backoff-rate"],
            {
                "type": float,
                "metavar": "FACTOR",
                "callback": lambda ctx, param, value: _finite(value),
                "help": "The factor of each further wait.",
            },
        ),
        (
            ["--retry-on"],
            {"multiple": True, "type": click.Choice(["fail", "timeout"]), "help": "Which ends are retried."},
        ),
        (
            ["--catch-up"],
            {"type": click.Choice(["none", "one", "all"]), "help": "What follows missed ticks."},
        ),
        (["--catch-up-window-seconds"], {**whole, "help": "With --catch-up all: how far back."}),
        (["--spread-seconds"], {**whole, "help": "The window in which the jobs of a schedule start."}),
        (
            ["--limit"],
            {"metavar": "NAME", "help": "The limit of the service that it shares with other jobs."},
        ),
        (
            ["--workflow-type"],
            {"type": click.Choice(["standard", "express"]), "help": "Precise deadlines, or a low price."},
        ),
        (["--description"], {"metavar": "TEXT", "help": "Yours."}),
        (["--owner"], {"metavar": "TEXT", "help": "Who answers for the job."}),
        (
            ["--tag", "tag"],
            {"multiple": True, "metavar": "NAME=VALUE", "type": _tag, "help": "Set a tag. Others stay."},
        ),
        (["--untag"], {"multiple": True, "metavar": "NAME", "help": "Remove a tag."}),
        (
            ["--unset"],
            {
                "multiple": True,
                "type": click.Choice([name for name in SAVED if name not in _REQUIRED]),
                "help": "Give a field its default again.",
            },
        ),
    ]
    for names, settings in reversed(options):
        command = click.option(*names, **settings)(command)
    return command


def kept(job: "SavedJob") -> "Job":
    """A job as a PUT would save it unchanged. ``overlap`` says more than ``exclusive``, so one is enough."""
    saved = cast(Mapping[str, Any], job)
    names = [name for name in SAVED if name in saved and not (name == "exclusive" and "overlap" in saved)]
    return cast("Job", {name: saved[name] for name in names})


def changed(job: "Job | None", options: Mapping[str, Any]) -> "Job":
    """The job after the changes that the options name; a new one if there is none. Raises UsageError."""
    result: dict[str, Any] = dict(job or {})
    given = {name: value for name, value in options.items() if value is not None and value not in ((), [])}
    _change_target(result, given)
    if not given.keys().isdisjoint(_OVERLAP):
        _remove(result, _OVERLAP)
    _change_start(result, given)
    for name in SAVED:
        if name in given:
            result[name] = given[name]
    retry = {RETRY[name]: value for name, value in given.items() if name in RETRY}
    if "on" in retry:
        retry["on"] = list(retry["on"])
    if retry:
        result["retry"] = {**result.get("retry", {}), **retry}
    tags = {**result.get("tags", {}), **dict(given.get("tag", ()))}
    for name in given.get("untag", ()):
        if tags.pop(name, None) is None:
            raise click.UsageError(f"--untag: there is no tag {name}.")
    if tags != result.get("tags", {}):
        result["tags"] = tags
    for name in given.get("unset", ()):
        _remove(result, _OVERLAP if name in _OVERLAP else (name,))
    if not any(name in result for name in STARTS):
        raise click.UsageError("There is no such job yet. Expected --schedule or --after to create it.")
    return cast("Job", result)


def _remove(job: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        job.pop(name, None)


def _change_start(result: dict[str, Any], given: dict[str, Any]) -> None:
    """A job has either a schedule or jobs after which it runs. What is given replaces the other."""
    if all(name in given for name in STARTS):
        raise click.UsageError("Expected either --schedule or --after, not both.")
    if "after" in given:
        given["after"] = list(given["after"])
        for name in _OF_SCHEDULES:
            result.pop(name, None)
    elif "schedule" in given:
        result.pop("after", None)


def _change_target(result: dict[str, Any], given: dict[str, Any]) -> None:
    """A target of one type is none of the other. Without a type, the target says which it is."""
    target = given.get("invocation_target")
    kind = given.get("invocation_type")
    if kind is None:
        is_url = target is not None and target.lower().startswith(("http:", "https:"))
        kind = ("http" if is_url else "sns") if target is not None else result.get("invocation_type", "sns")
    if target is None and kind != result.get("invocation_type"):
        result.pop("invocation_target", None)
    result["invocation_type"] = kind
