"""Receives the segments that functions send to X-Ray: a UDP listener in the place of the X-Ray daemon.

The SDK sends each subsegment in its own datagram when it ends, so a function's calls arrive before it:
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from local import slowness

DAEMON = ("127.0.0.1", 2000)
_MOST_BYTES = 65_536
_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Segment:
    """One subsegment. For an AWS call, ``aws`` is ``{operation, region, …}`` and some of its parameters."""

    id: str
    parent_id: str | None
    trace_id: str
    name: str
    namespace: str
    start_time: float
    end_time: float
    aws: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    http: dict[str, Any] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether it is the function's own work, and not a call to something else."""
        return self.namespace in ("", "local")

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_time - self.start_time


@dataclass(frozen=True)
class AwsCall:
    """One call of the SDK, including its retries. The names of ``parameters`` are in snake_case."""

    service: str
    operation: str
    seconds: float
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Invocation:
    """One invocation of a function, by its name in AWS. ``calls`` are all its calls, to AWS and to others."""

    function_name: str
    segment: Segment
    aws_calls: tuple[AwsCall, ...]
    calls: tuple[Segment, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the handler took, including its calls."""
        return self.segment.seconds

    @property
    def own_seconds(self) -> float:
        """How long it took without its calls: the time in which no call was running."""
        own, reached = 0.0, self.segment.start_time
        for call in sorted(self.calls, key=lambda each: each.start_time):
            own += max(0.0, call.start_time - reached)
            reached = max(reached, call.end_time)
        return own + max(0.0, self.segment.end_time - reached)


class SegmentListener:
    """Listens during its with block. Raises OSError if another process listens on the port."""

    def __init__(self, address: tuple[str, int] = DAEMON) -> None:
        self._address = address
        self._arrived: list[Segment] = []
        self._changed = threading.Condition()
        self._last_at = 0.0
        self._closing = False

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind(self._address)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._listen, name="x-ray", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join()
        self._socket.close()

    @property
    def address(self) -> tuple[str, int]:
        """The address on which it listens. Useful if the port was chosen automatically."""
        host, port = self._socket.getsockname()
        return host, port

    def take(self) -> list[Segment]:
        """Everything that arrived since the last call."""
        with self._changed:
            taken, self._arrived = self._arrived, []
            return taken

    def take_until(
        self, condition: Callable[[list[Segment]], bool], seconds: float, what: str
    ) -> list[Segment]:
        """Waits until the arrived segments meet the condition, and takes them. Else raises TimeoutError."""
        with self._changed:
            if not slowness.wait_for(self._changed, lambda: condition(self._arrived), seconds):
                raise TimeoutError(f"no segment of {what} arrived within {seconds:g} s")
            taken, self._arrived = self._arrived, []
            return taken

    def wait_for_quiet(self, quiet_seconds: float, seconds: float = 30) -> None:
        """Waits until nothing arrived for ``quiet_seconds``. Raises TimeoutError after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            since = time.monotonic()
            while (left := max(self._last_at, since) + quiet_seconds - time.monotonic()) > 0:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"functions still sent segments after {seconds:g} s")
                self._changed.wait(left)

    def _listen(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError, ValueError):  # any process may send anything to this port
                arrived = list(segments_of(self._socket.recv(_MOST_BYTES)))
                with self._changed:
                    self._arrived += arrived
                    self._last_at = time.monotonic()
                    self._changed.notify_all()


def segments_of(datagram: bytes) -> Iterator[Segment]:
    """The segments of one datagram, including nested ones, without those that have not ended.

    Raises ValueError if the datagram is not from X-Ray.
    """
    _, _, text = datagram.partition(b"\n")
    document = json.loads(text)
    if not isinstance(document, dict) or not {"id", "start_time"} <= document.keys():
        raise ValueError("expected a segment")
    yield from _flattened(document, None, "")


def _flattened(document: dict[str, Any], parent_id: str | None, trace_id: str) -> Iterator[Segment]:
    trace_id = document.get("trace_id", trace_id)
    for inner in document.get("subsegments", ()):
        yield from _flattened(inner, document["id"], trace_id)
    if "end_time" in document:
        yield Segment(
            id=document["id"],
            parent_id=document.get("parent_id", parent_id),
            trace_id=trace_id,
            name=document.get("name", ""),
            namespace=document.get("namespace", ""),
            start_time=document["start_time"],
            end_time=document["end_time"],
            aws=document.get("aws", {}),
            annotations=document.get("annotations", {}),
            http=document.get("http", {}),
        )


def invocations(segments: Iterable[Segment], function_names: Iterable[str]) -> list[Invocation]:
    """The functions' invocations by start time, each with the calls in it.

    ``function_names`` are the names in Lambda. Invocations that have not ended are missing.
    """
    by_id = {segment.id: segment for segment in segments}
    names = set(function_names)
    functions = {each.id: each for each in by_id.values() if each.name in names and each.is_local}
    calls: dict[str, list[Segment]] = {identifier: [] for identifier in functions}
    for segment in sorted(by_id.values(), key=lambda each: each.start_time):
        owner: Segment | None = segment
        while owner is not None and owner.id not in functions:
            owner = by_id.get(owner.parent_id or "")
        if owner is not None and not segment.is_local:
            calls[owner.id].append(segment)
    found = []
    for each in functions.values():
        made = tuple(calls[each.id])
        aws_calls = tuple(_aws_call(call) for call in made if call.namespace == "aws")
        found.append(Invocation(each.name, each, aws_calls, made))
    return sorted(found, key=lambda each: each.segment.start_time)


def _aws_call(segment: Segment) -> AwsCall:
    parameters = {name: value for name, value in segment.aws.items() if name != "operation"}
    return AwsCall(segment.name, segment.aws["operation"], segment.seconds, parameters)
