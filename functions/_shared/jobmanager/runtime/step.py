"""The wrapper of every handler: tracing, log fields, metrics, and errors that state machines match."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from aws_xray_sdk.core import xray_recorder
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.errors import AwsCallFailed, Contended, ManagerError, NotificationUndelivered, Refused
from jobmanager.runtime.function_metrics import Environment
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import annotate, trace_calls

type Handler[Event: Mapping[str, Any], Result] = Callable[[Event, LambdaContext], Result]

_LOGGED = ("service_name", "job_name", "execution_id", "attempt", "schedule")

_environment = Environment()


def step[Event: Mapping[str, Any], Result](handler: Handler[Event, Result]) -> Handler[Event, Result]:
    """Traces a handler, emits its function's metrics, and raises AwsCallFailed for any error of botocore.

    botocore has a class for each error of each service, but the state machines retry by one name.

    Each log line has these fields:

    - ``correlation_id``: the request id of API Gateway, which its access log has too; else that of Lambda
    - ``function_request_id``: the request id of Lambda
    - ``cold_start``: whether this is the first invocation of the execution environment
    - ``xray_trace_id`` and ``service``, the function's name; Powertools adds them
    - service_name, job_name, execution_id, attempt and schedule, if the event has them
    """
    trace_calls()

    @wraps(handler)
    def handle(event: Event, context: LambdaContext) -> Result:
        facts = {name: value for name, value in _log_fields(event).items() if name in _LOGGED}
        logger.set_correlation_id(_request_id(event) or context.aws_request_id)
        logger.append_keys(
            function_request_id=context.aws_request_id, cold_start=_environment.is_cold, **facts
        )
        with xray_recorder.in_subsegment(context.function_name):
            annotate(facts)
            try:
                return handler(event, context)
            except (ClientError, BotoCoreError) as error:
                logger.error("AWS call failed", extra={"error": str(error)})
                raise AwsCallFailed(str(error)) from error
            except NotificationUndelivered as error:
                # It is retried, and it is not a fault of the manager.
                logger.warning("notification undelivered", extra=_extra(error))
                raise
            except Exception as error:
                is_expected = isinstance(error, ManagerError)
                logger.error("step failed", extra=_extra(error), exc_info=not is_expected)
                raise
            finally:
                logger.remove_keys(list(_LOGGED))
                _environment.emit_metrics(context)

    return handle


def returns_refusals[Event: Mapping[str, Any]](
    handler: Handler[Event, dict[str, Any]],
) -> Handler[Event, dict[str, Any]]:
    """Returns ``{"refusal": …}`` if a handler raises Refused, so that the state machine can branch on it.

    An exception would count as a failure of the function. Contended is still raised, because the state
    machine retries it.
    """

    @wraps(handler)
    def handle(event: Event, context: LambdaContext) -> dict[str, Any]:
        try:
            return handler(event, context)
        except Contended:
            raise
        except Refused as refusal:
            return {"refusal": refusal.document()}

    return handle


def _extra(error: Exception) -> dict[str, str]:
    return {"error": type(error).__name__, "cause": str(error)}


def _request_id(event: Mapping[str, Any]) -> str | None:
    request_id: str | None = event.get("requestContext", {}).get("requestId")
    return request_id


def _log_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event, of its ``execution``, and of its path, in one dict."""
    nested = event.get("execution") or event.get("pathParameters")
    return {**event, **(nested if isinstance(nested, dict) else {})}
