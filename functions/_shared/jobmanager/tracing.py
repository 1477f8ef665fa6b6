"""X-Ray: every AWS call and web request of a function is a subsegment, annotated with what it is about."""

from aws_xray_sdk.core import patch, xray_recorder

_ANNOTATED = ("service_name", "job_name", "execution_id", "schedule")


def trace_calls() -> None:
    """Instruments botocore and http.client; doing it again does nothing."""
    patch(("botocore", "httplib"), raise_errors=False)


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
