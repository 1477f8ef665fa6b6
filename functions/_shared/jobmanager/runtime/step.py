"""The wrapper of every function: a trace, facts on its log lines, errors that state machines match."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from aws_xray_sdk.core import xray_recorder
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.errors import AwsCallFailed, Contended, ManagerError, Refused
from jobmanager.runtime.function_metrics import Environment
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import annotate, trace_calls

type Handler[Event: Mapping[str, Any], Result] = Callable[[Event, LambdaContext], Result]

_LOGGED = ("service_name", "job_name", "execution_id", "attempt", "schedule")

_environment = Environment()


def step[Event: Mapping[str, Any], Result](handler: Handler[Event, Result]) -> Handler[Event, Result]:
    """Traces a handler, measures its function, and turns an AWS error that it raises into AwsCallFailed.

    botocore makes a class for each error of each service, but the state machines retry by one name.

    Each log line has ``correlation_id`` (API Gateway's request id, which its access log has too; else
    Lambda's), ``function_request_id`` and ``cold_start``. Powertools adds ``xray_trace_id`` and ``service``,
    the function's name. The event adds service_name, job_name, execution_id, attempt and schedule.
    """
    trace_calls()

    @wraps(handler)
    def handle(event: Event, context: LambdaContext) -> Result:
        facts = {name: value for name, value in _facts(event).items() if name in _LOGGED}
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
            except Exception as error:
                is_meant = isinstance(error, ManagerError)
                said = {"error": type(error).__name__, "cause": str(error)}
                logger.error("step failed", extra=said, exc_info=not is_meant)
                raise
            finally:
                logger.remove_keys(list(_LOGGED))
                _environment.tell(context)

    return handle


def answers_refusals[Event: Mapping[str, Any]](
    handler: Handler[Event, dict[str, Any]],
) -> Handler[Event, dict[str, Any]]:
    """Returns ``{"refusal": …}`` if a handler refuses, so that the state machine can branch on it.

    An exception would count as a failure of the function. Contended stays one: repeating the step helps.
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


def _request_id(event: Mapping[str, Any]) -> str | None:
    request_id: str | None = event.get("requestContext", {}).get("requestId")
    return request_id


def _facts(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say what an event is about: at its top, in its ``execution``, or in its path."""
    nested = event.get("execution") or event.get("pathParameters")
    return {**event, **(nested if isinstance(nested, dict) else {})}
