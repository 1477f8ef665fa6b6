"""If-Match and If-None-Match: conditions on a change of a job or a limit, whose entity tag is its version.

https://www.rfc-editor.org/rfc/rfc9110.html#section-13.1
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from jobmanager.api.fields import bad_field
from jobmanager.api.http import Event, header
from jobmanager.core.errors import PreconditionFailed

# RFC 9110's etagc, as a negated class: a class up to the last character of Unicode takes 9 ms to compile.
_TAG = r'(?:W/)?"[^\x00-\x20"\x7f]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_WEAK = re.compile(r'W/("[1-9]\d{0,15}")')
_VERSION = re.compile(r'(?<!W/)"([1-9]\d{0,15})"')


class Expected(TypedDict, total=False):
    """The conditions on the version of a job or a limit; without any the change applies to every version."""

    if_match: list[int] | Literal["*"]
    if_none_match: Literal["*"]


def etag(versioned: Mapping[str, Any]) -> dict[str, str]:
    """Returns the ETag header, which holds the version of a job or a limit."""
    return {"etag": f'"{versioned["version"]}"'}


def expected_of(event: Event) -> Expected:
    """Reads the conditions from a request's headers. Raises BadRequest for a malformed header.

    A weak tag, and a tag that cannot be a version, match nothing, as RFC 9110 demands. If a header names
    versions only in weak tags, this raises PreconditionFailed at once, and says so.
    """
    expected = Expected()
    if (match := header(event, "if-match")) is not None:
        if match.strip() == "*":
            expected["if_match"] = "*"
        elif _TAGS.fullmatch(match):
            expected["if_match"] = [int(version) for version in _VERSION.findall(match)]
            if not expected["if_match"] and (weak := _WEAK.search(match)):
                raise PreconditionFailed(
                    f"{weak[0]} in If-Match is weak, and If-Match compares strongly, so that it matches no"
                    f" version. Send {weak[1]}, without W/."
                )
        else:
            raise bad_field("If-Match", 'expected a version in quotes such as "3", several versions, or *')
    if (none_match := header(event, "if-none-match")) is not None:
        if none_match.strip() != "*":
            raise bad_field("If-None-Match", "expected *, which creates but never replaces")
        expected["if_none_match"] = "*"
    return expected


def expected_of_change(change: Mapping[str, Any]) -> Expected:
    """Reads the conditions from the input of a step of the update-job machine."""
    expected = Expected()
    if "if_match" in change:
        expected["if_match"] = change["if_match"]
    if "if_none_match" in change:
        expected["if_none_match"] = change["if_none_match"]
    return expected


def is_repeated(expected: Expected, changed: Mapping[str, Any], updated_by: str) -> bool:
    """Whether a caller repeats an ``If-Match`` that it had sent before, because the answer was lost.

    It names the version before that of ``changed``, which the same caller wrote.
    """
    wanted = expected.get("if_match")
    is_before = isinstance(wanted, list) and changed["version"] - 1 in wanted
    return is_before and changed["updated_by"] == updated_by


def check(expected: Expected, name: str, version: int | None, kind: str = "job") -> None:
    """Raises PreconditionFailed unless a job, or another ``kind``, is as expected.

    ``version`` is None if there is none of this name.
    """
    wanted = expected.get("if_match")
    if wanted is not None and version is None:
        raise PreconditionFailed(f"There is no {kind} {name}. Leave If-Match out to create it.")
    if version is None:
        return
    if wanted is not None and wanted != "*" and version not in wanted:
        raise PreconditionFailed(
            f"{name} is at version {version}, which If-Match does not name. GET it, decide again by what it"
            f' is now, and repeat the request with If-Match: "{version}".',
            version=version,
        )
    if "if_none_match" in expected:
        raise PreconditionFailed(
            f"{name} exists, at version {version}. To change it, leave If-None-Match out, or send"
            f' If-Match: "{version}" instead.',
            version=version,
        )
