"""Runs in the processes of the functions: lets the AWS SDK wait for the emulator longer than for AWS."""

from typing import Any

TIMES = 10


def install() -> None:
    """A client that would wait 3 s for an answer waits 30 s."""
    from botocore.httpsession import URLLib3Session

    original = URLLib3Session.__init__

    def init(session: URLLib3Session, *arguments: Any, **named: Any) -> None:
        if isinstance(named.get("timeout"), tuple):
            named["timeout"] = tuple(seconds * TIMES for seconds in named["timeout"])
        original(session, *arguments, **named)

    _put_in_place(URLLib3Session, "__init__", init)


def _put_in_place(owner: type, name: str, ours: Any) -> None:
    setattr(owner, name, ours)
