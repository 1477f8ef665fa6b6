"""What went wrong, in words for people: without the requests and the headers that the API speaks of."""

import re

from sjm.client import ManagerError, NoAnswer, NotConfigured, Problem

# The API tells programs what to send next. People have buttons for that.
_REWORDED = (
    (re.compile(r" (PUT it|Leave If-Match out) to create it\."), ""),
    (
        re.compile(r" is at version (\d+), which If-Match does not name\b.*", re.S),
        r" has changed: it is at version \1 now.",
    ),
    (re.compile(r"PUT it with test_invocation false"), "save it without its test"),
    (re.compile(r"PUT it again"), "Save it again"),
)
_SERVER_ERROR = 500


def kind_of(error: ManagerError) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, Problem):
        return error.title
    if isinstance(error, NoAnswer):
        return "The stage does not answer"
    if isinstance(error, NotConfigured):
        return "The stage cannot be called"
    return "The answer is not a manager's"


def detail_of(error: ManagerError) -> str:
    """What went wrong, in a sentence or two."""
    text = error.detail if isinstance(error, Problem) else str(error)
    for pattern, words in _REWORDED:
        text = pattern.sub(words, text)
    return text


def told(error: ManagerError | str) -> str:
    """What went wrong, in one text. A text stays as it is."""
    if not isinstance(error, Problem):
        return error if isinstance(error, str) else detail_of(error)
    status = f"{error.status} " if error.status >= _SERVER_ERROR else ""
    fields = "".join(f"; {each['pointer'] or 'body'}: {each['detail']}" for each in error.errors)
    return f"{status}{error.title}: {detail_of(error)}{fields}"
