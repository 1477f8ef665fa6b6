"""Tries a receiver of webhooks against all that can go wrong between it and the manager.

Needs no stage, no AWS account, and nothing but Python. The receiver may be written in any language. The
command is ``sjm rehearse``; for pytest there is the fixture ``sjm_rehearsal``. docs/rehearse.md has more.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sjm.rehearsal.verdict import ReportCard


def rehearse(
    url: str,
    *,
    secret: str | None = None,
    service: str = "rehearsal",
    job: str = "job",
    payload: str = "",
    long_payload: str | None = None,
    sync: bool = False,
    exclusive: bool = False,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    timeout: int = 10,
    callback_host: str | None = None,
    callback_port: int = 0,
) -> "ReportCard":
    """Plays the manager for the receiver at ``url``, and returns what was seen.

    ``timeout`` is the ``ttl_seconds`` that the receiver is told, 10 or more; everything waits in proportion.
    See :class:`sjm.rehearsal.settings.Settings` for the others. With the shortest timeout a good
    receiver takes about ten seconds. Raises ValueError if an argument is wrong, and PortTaken.
    """
    from sjm.rehearsal.playing import play, selected
    from sjm.rehearsal.settings import SHORTEST_TTL_SECONDS, Settings, Waits, key_of
    from sjm.rehearsal.webhook import check_url

    check_url(url)
    if secret is not None:
        key_of(secret)
    if timeout < SHORTEST_TTL_SECONDS:
        raise ValueError(f"timeout: expected at least {SHORTEST_TTL_SECONDS} seconds")
    settings = Settings(
        url,
        service=service,
        job=job,
        payload=payload,
        long_payload=long_payload,
        secret=secret,
        is_async=not sync,
        exclusive=exclusive,
        waits=Waits(timeout),
        callback_host=callback_host,
        callback_port=callback_port,
    )
    return play(settings, selected(only, skip))


__all__ = ["rehearse"]
