"""How an execution ended, in the fields that events carry, so that nobody need look it up.

Events go to more readers than the API's answers. So they hold the name of an error and not the object that a
service reported, each text is bounded, and secrets are taken out (:mod:`jobmanager.core.redaction`).
"""

import json
from typing import Any

from jobmanager.core.redaction import redacted
from jobmanager.executions.outcome import MAX_ERROR_CHARACTERS, error_name
from jobmanager.executions.record import Execution
from jobmanager.jobs.definition import Job

MAX_CHARACTERS = 1024
"""The longest ``cause`` and ``summary``. SNS takes 256 KiB, of which a character takes six bytes at most."""


def published_outcome(record: Execution, job: Job | None) -> dict[str, Any]:
    """Returns ``error``, ``cause``, ``fault`` and ``summary`` of an execution, and the ``owner`` of its job.

    A failure also has ``last_succeeded_at_ms``, when the last success of its job ended.

    A field is absent if there is nothing to say. ``job``: the job as it was just read or written; None if it
    was not read.
    """
    found: dict[str, Any] = {}
    cause = record.get("cause")
    if record["status"] in ("fail", "timeout"):
        name = error_name(record)
        found["error"] = _bounded(name, MAX_ERROR_CHARACTERS)
        last_success = job.get("last_successful_execution", {}) if job is not None else {}
        if "finished_at_ms" in last_success:
            found["last_succeeded_at_ms"] = last_success["finished_at_ms"]
        cause = cause or _rest_of_error(record, name)
    if cause:
        found["cause"] = _bounded(cause, MAX_CHARACTERS)
    if "fault" in record:
        found["fault"] = record["fault"]
    if "summary" in record:
        found["summary"] = _bounded(record["summary"], MAX_CHARACTERS)
    if job is not None and "owner" in job:
        found["owner"] = job["owner"]
    return found


def _rest_of_error(record: Execution, name: str) -> str | None:
    """Returns the whole text of an error that is too long for a name, or whose name is reserved."""
    error = json.loads(record["error"]) if "error" in record else None
    is_cut = error != name or len(name) > MAX_ERROR_CHARACTERS
    return error if isinstance(error, str) and is_cut else None


def _bounded(text: str, most: int) -> str:
    text = redacted(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
