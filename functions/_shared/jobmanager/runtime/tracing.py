"""X-Ray: every AWS call and web request of a function is a subsegment, annotated with what it is about.

The header that a call carries names the trace, the subsegment of the call, and whether the trace is recorded:
https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
AWS takes it from a request's headers. So the functions of an execution share its trace, and SNS hands it on
to subscribers by itself, to a queue as the system attribute AWSTraceHeader:
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
    """Instruments botocore; doing it again does nothing."""
    patch(("botocore",))


def annotate(facts: dict[str, object]) -> None:
    """Annotates the current subsegment, so that traces are found by service, job and execution.

    The function's own segment belongs to Lambda and takes no annotations:
    https://docs.aws.amazon.com/xray/latest/devguide/xray-sdk-python-segment.html
    """
    subsegment = xray_recorder.current_subsegment()
    if subsegment is None:
        return
    for name in _ANNOTATED:
        if isinstance(value := facts.get(name), str):
            subsegment.put_annotation(name, value)


def continued_in_threads() -> Callable[[], None]:
    """What a thread calls first, so that its calls count as this one's: they are then below its subsegment.

    https://github.com/aws/aws-xray-sdk-python#trace-threadpoolexecutor
    """
    return partial(xray_recorder.set_trace_entity, xray_recorder.get_trace_entity())


class WebRequest:
    """A web request that is under way: ``headers`` are to be sent with it."""

    def __init__(self, subsegment: Any) -> None:
        self._subsegment = subsegment
        self.headers: dict[str, str] = {} if subsegment is None else _trace_headers(subsegment)

    def answered(self, status: int) -> None:
        """Notes the status; from 400 on, X-Ray counts the request as an error, and from 500 on as a fault."""
        if self._subsegment is not None:
            self._subsegment.put_http_meta(http.STATUS, status)


@contextmanager
def web_request(method: str, url: str) -> Iterator[WebRequest]:
    """A subsegment for a request and all that is done for it; the service's segment goes below it.

    The SDK's own patch of http.client would name the function's subsegment as the service's parent, and make
    two subsegments, of sending and of waiting. What follows ``?`` is not noted.
    """
    parts = urlsplit(url)
    with xray_recorder.in_subsegment(parts.hostname, namespace="remote") as subsegment:
        if subsegment is not None:
            subsegment.put_http_meta(http.METHOD, method)
            subsegment.put_http_meta(http.URL, f"{parts.scheme}://{parts.netloc}{parts.path}")
        yield WebRequest(subsegment)


def _trace_headers(subsegment: Any) -> dict[str, str]:
    """A trace that is not recorded has no subsegments, and the service shall not record it either."""
    if isinstance(subsegment.parent_segment, DummySegment):
        return {}  # there is no trace at all
    sampled = bool(subsegment.sampled)
    header = TraceHeader(subsegment.trace_id, subsegment.id if sampled else None, sampled)
    return {http.XRAY_HEADER.lower(): header.to_header_str()}
