"""X-Ray tracing: each AWS call and each webhook of a function is a subsegment of its trace.

Each request carries a header that names the trace, the subsegment, and whether the trace is recorded:
https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
AWS services read that header, so all functions of an execution share its trace. SNS passes it on to
subscribers; a queue receives it as the system attribute AWSTraceHeader:
https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sns.html
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from aws_xray_sdk.core import patch, xray_recorder
from aws_xray_sdk.core.models import http
from aws_xray_sdk.core.models.dummy_entities import DummySegment
from aws_xray_sdk.core.models.trace_header import TraceHeader

_ANNOTATED = ("service_name", "job_name", "execution_id", "schedule")


def trace_calls() -> None:
    """Instruments botocore. Safe to repeat."""
    patch(("botocore",))


def annotate(facts: dict[str, object]) -> None:
    """Annotates the current subsegment, so that you can search traces by service, job and execution.

    The segment of the function belongs to Lambda and takes no annotations:
    https://docs.aws.amazon.com/xray/latest/devguide/xray-sdk-python-segment.html
    """
    subsegment = xray_recorder.current_subsegment()
    if subsegment is None:
        return
    for name in _ANNOTATED:
        if isinstance(value := facts.get(name), str):
            subsegment.put_annotation(name, value)


def trace_in_threads() -> Callable[[], None]:
    """Returns an initializer for worker threads: their calls become subsegments of the current one.

    https://github.com/aws/aws-xray-sdk-python#trace-threadpoolexecutor
    """
    return partial(xray_recorder.set_trace_entity, xray_recorder.get_trace_entity())


def trace_header() -> str | None:
    """Returns the header by which a call, even a later one, continues the current trace; None without one."""
    subsegment = xray_recorder.current_subsegment()
    return None if subsegment is None else _header_of(subsegment)


class WebRequest:
    """A web request in progress. Send ``headers`` with it."""

    def __init__(self, subsegment: Any) -> None:
        self._subsegment = subsegment
        self.headers: dict[str, str] = {} if subsegment is None else _trace_headers(subsegment)

    def record_status(self, status: int) -> None:
        """Records the HTTP status. X-Ray counts 4xx as an error and 5xx as a fault."""
        if self._subsegment is not None:
            self._subsegment.put_http_meta(http.STATUS, status)


@contextmanager
def web_request(method: str, url: str) -> Iterator[WebRequest]:
    """Opens a subsegment for a request; the segment of the called service becomes its child.

    The SDK's own patch of http.client would make the function's subsegment the parent instead, and add two
    subsegments, for sending and for waiting. The query string is not recorded.
    """
    parts = urlsplit(url)
    with xray_recorder.in_subsegment(parts.hostname, namespace="remote") as subsegment:
        if subsegment is not None:
            subsegment.put_http_meta(http.METHOD, method)
            subsegment.put_http_meta(http.URL, f"{parts.scheme}://{parts.netloc}{parts.path}")
        yield WebRequest(subsegment)


def _trace_headers(subsegment: Any) -> dict[str, str]:
    header = _header_of(subsegment)
    return {} if header is None else {http.XRAY_HEADER.lower(): header}


def _header_of(subsegment: Any) -> str | None:
    """Returns the header that continues the trace; for a trace that is not sampled, one that says so."""
    if isinstance(subsegment.parent_segment, DummySegment):
        return None  # there is no trace
    sampled = bool(subsegment.sampled)
    header: str = TraceHeader(
        subsegment.trace_id, subsegment.id if sampled else None, sampled
    ).to_header_str()
    return header
