"""X-Ray: how a trace continues from a request to the calls that it causes.

The emulator has no X-Ray. It gives each invocation of a function a new trace. Functions send their segments
to UDP 127.0.0.1:2000, where local/segments.py can receive them.
"""

import contextvars
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ministack.services import apigateway, lambda_svc, sns, sqs, stepfunctions

from local.aws_behaviour.wrapping import around

HEADER = "x-amzn-trace-id"
SERVICES = (lambda_svc, sns, stepfunctions)

header_of_caller: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "header_of_caller", default=None
)
"""The trace header of the request or the execution in this context."""


def apply() -> None:
    """Corrects tracing."""
    remember_the_header_of_a_request()
    continue_the_trace_of_the_caller()
    share_the_trace_of_an_execution()
    pass_the_trace_to_queues()


def remember_the_header_of_a_request() -> None:
    """AWS services take the trace from a request's X-Amzn-Trace-Id; ministack drops it.

    API Gateway does not trace HTTP APIs, but passes the header to the function.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    https://docs.aws.amazon.com/xray/latest/devguide/xray-services-apigateway.html
    """
    for service in SERVICES:

        @around(service, "handle_request")
        async def handle_request(
            original: Callable[..., Awaitable[Any]],
            method: str,
            path: str,
            headers: Mapping[str, str],
            *arguments: Any,
        ) -> Any:
            with calling(headers.get(HEADER)):
                return await original(method, path, headers, *arguments)

    @around(apigateway, "_invoke_lambda_proxy")
    async def invoke_lambda_proxy(
        original: Callable[..., Awaitable[Any]],
        integration: object,
        api_id: str,
        stage: str,
        path: str,
        method: str,
        headers: Mapping[str, str],
        *arguments: Any,
        **named: Any,
    ) -> Any:
        with calling(headers.get(HEADER)):
            return await original(integration, api_id, stage, path, method, headers, *arguments, **named)


def continue_the_trace_of_the_caller() -> None:
    """On AWS, a function continues its caller's trace with its own segment; in ministack, it begins a trace.

    https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
    """

    @around(lambda_svc, "_xray_trace_id_for_invocation")
    def trace_id(
        original: Callable[..., str | None], configuration: dict[str, Any], inbound: str | None = None
    ) -> str | None:
        caller = header_of_caller.get()
        return below(caller) if caller and inbound is None else original(configuration, inbound)


def share_the_trace_of_an_execution() -> None:
    """On AWS, all functions of an execution share a trace: that of its start, or a new one if it is traced.

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
    """

    @around(stepfunctions, "_start_execution")
    def start_execution(original: Callable[..., Any], data: Mapping[str, Any]) -> Any:
        # https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
        with calling(data.get("traceHeader") or header_of_caller.get()):
            return original(data)

    @around(stepfunctions, "_run_execution")
    def run_execution(original: Callable[..., None], arn: str) -> None:
        record = stepfunctions._executions.get(arn) or {}
        machine = stepfunctions._state_machines.get(record.get("stateMachineArn")) or {}
        is_traced = (machine.get("tracingConfiguration") or {}).get("enabled", False)
        with calling(header_of_caller.get() or (begun() if is_traced else None)):
            original(arn)


def pass_the_trace_to_queues() -> None:
    """SNS passes the trace of a Publish to a queue, as the attribute AWSTraceHeader; ministack does not.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sns.html
    https://docs.aws.amazon.com/xray/latest/devguide/xray-services-sqs.html
    """

    @around(sqs, "_ensure_msg_fields")
    def ensure_msg_fields(original: Callable[..., Any], message: dict[str, Any]) -> Any:
        result = original(message)
        header = header_of_caller.get()
        if header:
            message.setdefault("sys", {}).setdefault("AWSTraceHeader", header)
        return result


@contextmanager
def calling(header: str | None) -> Iterator[None]:
    """Runs the with block as a call with this trace header."""
    before = header_of_caller.set(header)
    try:
        yield
    finally:
        header_of_caller.reset(before)


def begun() -> str:
    """The header of a new trace."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Sampled=1"


def below(header: str) -> str:
    """The header of a new segment below the segment in a header."""
    fields = dict(field.split("=", 1) for field in header.split(";") if "=" in field)
    kept = {"Root": fields["Root"], "Parent": secrets.token_hex(8), "Sampled": fields.get("Sampled", "1")}
    return ";".join(f"{name}={value}" for name, value in kept.items())
