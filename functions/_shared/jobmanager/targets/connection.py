"""A connection to the first of a target's addresses that answers.

The addresses race as in RFC 8305 (https://www.rfc-editor.org/rfc/rfc8305#section-5): each gets a head start
of 250 ms over the next, or less if it fails sooner, and continues while others try. So an address that never
answers costs a quarter of a second, and not all the time there is.
"""

import errno
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from time import monotonic

from jobmanager.targets.target import WebTarget
from jobmanager.targets.tls import encrypted

type Connect = Callable[[tuple[str, int]], socket.socket]
"""Begins to connect, and does not wait. The socket becomes writable when it is connected or has failed."""

MAX_CONNECT_SECONDS = 10.0
_HEAD_START_SECONDS = 0.25


def begin_connecting(place: tuple[str, int]) -> socket.socket:
    """Returns a socket that begins to connect to an address. Raises OSError if it cannot."""
    opened = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    code = opened.connect_ex(place)
    if code not in (0, errno.EINPROGRESS):
        opened.close()
        raise OSError(code, os.strerror(code))
    return opened


def open_socket(
    target: WebTarget, addresses: Sequence[str], until: float, connect: Connect = begin_connecting
) -> socket.socket:
    """Returns a socket to the first of these addresses that answers; raises OSError if none does in time.

    The addresses have been checked. The name is not resolved again; only TLS still uses it.
    """
    places = [(address, target.port) for address in _by_turns(addresses)]
    opened = _race(places, min(until, monotonic() + MAX_CONNECT_SECONDS), connect)
    opened.settimeout(max(0.001, until - monotonic()))
    return encrypted(opened, target.name) if target.scheme == "https" else opened


def _by_turns(addresses: Sequence[str]) -> list[str]:
    """Alternates the address families, beginning with the first address's. Often one family does not work."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    others = [address for address in addresses if address not in first]
    turns = chain.from_iterable(zip_longest(first, others))
    return [address for address in turns if address is not None]


def _race(places: Sequence[tuple[str, int]], until: float, connect: Connect) -> socket.socket:
    waiting = deque(places)
    failed = OSError("there is no address")
    next_at = 0.0
    with selectors.DefaultSelector() as racing:
        try:
            while waiting or racing.get_map():
                now = monotonic()
                if now >= until:
                    raise TimeoutError("no address answered in time")
                if waiting and now >= next_at:
                    next_at = now + _HEAD_START_SECONDS
                    try:
                        racing.register(connect(waiting.popleft()), selectors.EVENT_WRITE)
                    except OSError as error:
                        failed, next_at = error, 0.0
                    continue
                for key, _ in racing.select(min(until, next_at if waiting else until) - now):
                    tried: socket.socket = key.fileobj  # type: ignore[assignment]
                    racing.unregister(tried)
                    if (code := tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) == 0:
                        return tried
                    tried.close()
                    failed, next_at = OSError(code, os.strerror(code)), 0.0
        finally:
            for key in list(racing.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise failed
