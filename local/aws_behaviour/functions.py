"""Lambda: the runtime of functions, the names of their errors, and the life of their processes."""

import contextvars
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc, stepfunctions

from local import lambda_python
from local.aws_behaviour.wrapping import around

PROCESSES_PER_FUNCTION = 4
MAX_RESPONSE_BYTES = 6_291_556


def apply() -> None:
    """Corrects Lambda."""
    run_in_a_separate_runtime(Path(os.environ["TMPDIR"]) / "lambda-runtime")
    name_errors_by_their_class()
    keep_functions_that_raised()
    queue_bursts()
    let_invocations_outlast_an_update()
    limit_the_size_of_responses()
    name_throttled_tasks()
    retry_throttled_events()
    invoke_asynchronously_from_state_machines()


def run_in_a_separate_runtime(directory: Path) -> None:
    """On AWS, a function can import its zip, boto3 and its requirements; in ministack, our whole .venv.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
    """
    python = str(lambda_python.make(directory))

    @around(lambda_runtime, "_detect_runtime_binary")
    def detect_runtime_binary(original: Callable[..., tuple[str, str]], runtime: str) -> tuple[str, str]:
        binary, script = original(runtime)
        return (python if runtime.startswith("python") else binary), script


def name_errors_by_their_class() -> None:
    """On AWS, errorType is the exception's class; in ministack, it is always Runtime.HandlerError.

    State machines match it. If the process died, it is Runtime.ExitError on AWS.
    https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    error = '"error": str(e), "trace"'
    assert error in script
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(
        error, '"error": str(e), "error_type": type(e).__name__, "trace"'
    )
    last = threading.local()

    @around(lambda_runtime.Worker, "invoke")
    def invoke(original: Callable[..., dict[str, Any]], *arguments: Any, **named: Any) -> dict[str, Any]:
        response = original(*arguments, **named)
        died = response.get("error") == "Worker process died"
        last.error_type = response.get("error_type") or ("Runtime.ExitError" if died else None)
        return response

    @around(lambda_svc, "_execute_function_warm")
    def execute_function_warm(original: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        last.error_type = None
        result = original(*arguments)
        if result.get("error") and last.error_type:
            result["body"]["errorType"] = last.error_type
        return result


def keep_functions_that_raised() -> None:
    """On AWS, a function that raised an error serves the next invocation too; ministack ends its process.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    raised = '_real_stdout.write(json.dumps({"status": "error", "error": str(e), "error_type"'
    assert raised in script
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(raised, raised.replace('"error"', '"ok"', 1))

    @around(lambda_runtime.Worker, "invoke")
    def invoke(original: Callable[..., dict[str, Any]], *arguments: Any, **named: Any) -> dict[str, Any]:
        response = original(*arguments, **named)
        return {**response, "status": "error"} if "error" in response else response


def queue_bursts() -> None:
    """AWS adds an environment for each concurrent invocation; here, a burst waits for a few processes.

    Ministack would start a process for each invocation. All would import at the same time on a few cores,
    until state machines time out. No function waits for another invocation of itself, so none deadlocks.
    """
    few: dict[str, threading.BoundedSemaphore] = {}

    @around(lambda_svc, "_execute_function_warm")
    def execute_function_warm(
        original: Callable[..., dict[str, Any]], function: dict[str, Any], *arguments: Any
    ) -> dict[str, Any]:
        name = (function.get("config") or function).get("FunctionName", "")
        with few.setdefault(name, threading.BoundedSemaphore(PROCESSES_PER_FUNCTION)):
            return original(function, *arguments)


def let_invocations_outlast_an_update() -> None:
    """On AWS, an update of a function does not affect running invocations; ministack kills them.

    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    leaving: set[lambda_runtime.Worker] = set()

    @around(lambda_svc, "invalidate_worker")
    def invalidate_worker(original: Callable[..., None], name: str, *arguments: Any, **named: Any) -> None:
        with lambda_runtime._lock:
            for key, workers in lambda_runtime._workers.items():
                if key.split(":")[-2] == name and named.get("qualifier") in (None, key.split(":")[-1]):
                    leaving.update(worker for worker in workers if worker.in_use)
                    workers[:] = [worker for worker in workers if not worker.in_use]
        original(name, *arguments, **named)

    @around(lambda_svc, "release_worker")
    def release_worker(original: Callable[..., None], worker: lambda_runtime.Worker) -> None:
        original(worker)
        if worker in leaving:
            leaving.discard(worker)
            lambda_runtime.kill_workers([worker])


def limit_the_size_of_responses() -> None:
    """AWS fails an invocation whose response is larger than 6 MB; ministack has no limit.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    @around(lambda_svc, "_execute_function_warm")
    def execute_function_warm(original: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        result = original(*arguments)
        response = json.dumps(result.get("body"), ensure_ascii=False)  # as Lambda's runtime writes it
        if result.get("error") or len(response.encode(errors="replace")) <= MAX_RESPONSE_BYTES:
            return result
        error = {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size"
            f" ({MAX_RESPONSE_BYTES} bytes).",
        }
        return {"body": error, "error": True, "log": result.get("log", "")}


def name_throttled_tasks() -> None:
    """On AWS a throttled task fails with Lambda.TooManyRequestsException; in ministack with Lambda.Unknown.

    https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html#bp-lambda-serviceexception
    """

    @around(stepfunctions, "_call_lambda")
    def call_lambda(original: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return original(*arguments)
        except stepfunctions._ExecutionError as failed:
            if failed.error == "Lambda.Unknown" and '"TooManyRequestsException"' in failed.cause:
                raise stepfunctions._ExecutionError("Lambda.TooManyRequestsException", failed.cause) from None
            raise


def retry_throttled_events() -> None:
    """AWS keeps a throttled event until it is too old, beside its retries; ministack counts it as a failure.

    The waits grow from 1 second to 5 minutes.
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """
    deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)

    @around(lambda_svc, "invoke_async_with_retry")
    def invoke_async_with_retry(
        original: Callable[..., None], function: dict[str, Any], event: dict[str, Any]
    ) -> None:
        settings = function.get("event_invoke_config") or {}
        until = time.monotonic() + float(settings.get("MaximumEventAgeInSeconds") or 6 * 3600)
        reset = deadline.set(until)
        try:
            original(function, event)
        finally:
            deadline.reset(reset)

    @around(lambda_svc, "_execute_function")
    def execute_function(
        original: Callable[..., dict[str, Any]], function: dict[str, Any], event: dict[str, Any]
    ) -> dict[str, Any]:
        result, until, pause = original(function, event), deadline.get(), 1.0
        while result.get("throttle") and until is not None and time.monotonic() + pause < until:
            time.sleep(pause)
            pause = min(2 * pause, 300)
            now, *_ = lambda_svc._get_func_record_for_ref(function["config"]["FunctionArn"])
            result = original({**function, "concurrency": (now or {}).get("concurrency")}, event)
        return result


def invoke_asynchronously_from_state_machines() -> None:
    """On AWS, a task may invoke a function as an event: it has status 202 and no payload, and does not wait.

    The function is retried as for other events. Ministack waits for the function's result.
    https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    @around(stepfunctions, "_invoke_resource")
    def invoke_resource(original: Callable[..., Any], resource: str, arguments: Any) -> Any:
        is_event = isinstance(arguments, dict) and arguments.get("InvocationType") == "Event"
        if not is_event or not resource.endswith("states:::lambda:invoke"):
            return original(resource, arguments)
        reference = stepfunctions._resolve_lambda_function_ref(arguments["FunctionName"], optimized=True)
        function, configuration, name = lambda_svc._get_func_record_for_ref(reference)
        if not function or not configuration:
            error = "Lambda.ResourceNotFoundException"
            raise stepfunctions._ExecutionError(error, f"Function not found: {name}")
        record = lambda_svc._execution_record_for_config(function, configuration)
        lambda_svc.invoke_async_with_retry(record, arguments.get("Payload", {}))
        return {"StatusCode": 202}
