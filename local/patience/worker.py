"""Runs in the processes of the functions, and lets the AWS SDK wait longer for the emulator than for AWS."""

from typing import Any

FACTOR = 10


def install() -> None:
    """Makes a client that waits 3 s for an answer wait 30 s."""
    from botocore.httpsession import URLLib3Session

    original = URLLib3Session.__init__

    def init(session: URLLib3Session, *arguments: Any, **named: Any) -> None:
        if isinstance(named.get("timeout"), tuple):
            named["timeout"] = tuple(seconds * FACTOR for seconds in named["timeout"])
        original(session, *arguments, **named)

    _replace(URLLib3Session, "__init__", init)


def _replace(owner: type, name: str, ours: Any) -> None:
    setattr(owner, name, ours)
