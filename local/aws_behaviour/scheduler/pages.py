"""Lists schedules and groups in pages.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html
"""

import base64
import json
from collections.abc import Iterable
from typing import Any

from local.aws_behaviour.scheduler.requests import Refused

DEFAULT_RESULTS = 100  # also the most; the page has only the most


def page(entries: Iterable[tuple[str, Any]], parameters: dict[str, Any]) -> tuple[list[Any], str | None]:
    """The entries after the one that NextToken names, at most MaxResults, and a token if there are more.

    ``entries`` are keys with what is listed. The token names a key, so an entry that stays is listed once
    even if others are created or deleted between two pages.
    """
    after = _read(parameters["NextToken"]) if "NextToken" in parameters else ""
    left = sorted(((key, entry) for key, entry in entries if key > after), key=lambda pair: pair[0])
    size = parameters.get("MaxResults", DEFAULT_RESULTS)
    shown = left[:size]
    token = _token(shown[-1][0]) if len(left) > size else None
    return [entry for _, entry in shown], token


def summary(schedule: dict[str, Any]) -> dict[str, Any]:
    """A schedule as it is listed.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ScheduleSummary.html
    """
    names = ("Arn", "Name", "GroupName", "State", "CreationDate", "LastModificationDate")
    return {name: schedule[name] for name in names} | {"Target": {"Arn": schedule["Target"]["Arn"]}}


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps({"after": key}).encode()).decode()


def _read(token: str) -> str:
    try:
        found = json.loads(base64.urlsafe_b64decode(token.encode()))["after"]
    except (ValueError, TypeError, KeyError):
        raise Refused("ValidationException", "Invalid NextToken.") from None
    if not isinstance(found, str):
        raise Refused("ValidationException", "Invalid NextToken.")
    return found
