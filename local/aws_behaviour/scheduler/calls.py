"""The calls of Scheduler's API."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import scheduler

from local.aws_behaviour.scheduler import roles
from local.aws_behaviour.scheduler.client_tokens import ClientTokens
from local.aws_behaviour.scheduler.deliveries import DEFAULT_RETRY_POLICY
from local.aws_behaviour.scheduler.pages import page, summary
from local.aws_behaviour.scheduler.requests import Refused, Request, Response, check_schedule, read

CANNOT_ASSUME = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."

type Handler = Callable[..., Awaitable[Response]]


class Calls:
    """Checks each call, and lets ministack keep the schedules and groups."""

    def __init__(self) -> None:
        self._tokens = ClientTokens()

    async def handle(
        self,
        original: Handler,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
    ) -> Response:
        """Answers an HTTP request."""
        try:
            request = read(method, path, body, query)
            if request is None:  # tags
                return await original(method, path, headers, body, query)
            scope = responses.get_account_id(), responses.get_region()
            return self._tokens.once(scope, request, scheduler._now(), lambda: _act(request, headers, query))
        except Refused as refused:
            return refused.response()

    def reset(self) -> None:
        """Forgets everything."""
        self._tokens.reset()


def _act(request: Request, headers: dict[str, str], query: dict[str, Any]) -> Response:
    parameters = copy.deepcopy(request.parameters)
    group = {"groupName": parameters.get("GroupName", "default")}
    match request.operation:
        case "CreateSchedule" | "UpdateSchedule":
            return _put(request.operation, parameters, headers, query)
        case "GetSchedule":
            return _answer(scheduler._get_schedule(parameters["Name"], group))
        case "DeleteSchedule":
            return _answer(scheduler._delete_schedule(parameters["Name"], group))
        case "ListSchedules":
            return _list_schedules(parameters)
        case "CreateScheduleGroup":
            return _answer(scheduler._create_schedule_group(parameters["Name"], parameters))
        case "GetScheduleGroup":
            return _answer(scheduler._get_schedule_group(parameters["Name"]))
        case "DeleteScheduleGroup":
            return _answer(scheduler._delete_schedule_group(parameters["Name"], {}))
        case operation:
            assert operation == "ListScheduleGroups"
            return _list_groups(parameters)


def _put(
    operation: str, parameters: dict[str, Any], headers: dict[str, str], query: dict[str, Any]
) -> Response:
    """Creates or updates a schedule. An update replaces all fields; those left out get their defaults.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html
    """
    name, group = parameters.pop("Name"), parameters.get("GroupName", "default")
    target = parameters["Target"]
    check_schedule(parameters, scheduler._now())
    if denied := _pass_role(target["RoleArn"], headers, query):
        return denied
    if not roles.may_be_assumed(target["RoleArn"], scheduler._schedule_arn(group, name)):
        raise Refused("ValidationException", CANNOT_ASSUME)
    # What AWS shows of a schedule that names no retry policy, or half of one.
    target["RetryPolicy"] = DEFAULT_RETRY_POLICY | target.get("RetryPolicy", {})
    put = scheduler._create_schedule if operation == "CreateSchedule" else scheduler._update_schedule
    answer = _answer(put(name, parameters))
    if answer[0] == 200 and "Description" not in parameters:
        del scheduler._schedules[f"{group}/{name}"]["Description"]
    return answer


def _pass_role(role_arn: str, headers: dict[str, str], query: dict[str, Any]) -> Response | None:
    """AWS checks that the caller may pass the role to Scheduler; ministack does not.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
    """
    denied = iam_evaluator.enforce(
        router.extract_access_key_id(headers, query),
        "iam:PassRole",
        "iam",
        responses.get_region(),
        resource_arn=role_arn,
        service_context={"iam:PassedToService": roles.SERVICE},
    )
    if denied is None:
        return None
    if isinstance(denied, iam_evaluator.AuthError):
        raise Refused(denied.code, denied.message, 403)
    answer: Response = iam_actions.access_denied_response(
        "scheduler",
        "iam:PassRole",
        denied.principal_arn,
        responses.new_uuid(),
        headers=headers,
        message=iam_actions.identity_denial_message(
            "iam:PassRole", denied.principal_arn, role_arn, denied.decision == "Deny"
        ),
    )
    return answer


def _list_schedules(parameters: dict[str, Any]) -> Response:
    group, prefix, state = (parameters.get(name) for name in ("GroupName", "NamePrefix", "State"))
    scheduler._ensure_default_group()
    if group is not None and group not in scheduler._schedule_groups:
        raise Refused("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404)
    found, token = page(
        (
            (key, summary(schedule))
            for key, schedule in scheduler._schedules.items()
            if group in (None, schedule["GroupName"])
            and schedule["Name"].startswith(prefix or "")
            and state in (None, schedule["State"])
        ),
        parameters,
    )
    return _listed("Schedules", found, token)


def _list_groups(parameters: dict[str, Any]) -> Response:
    scheduler._ensure_default_group()
    prefix = parameters.get("NamePrefix", "")
    groups = ((name, group) for name, group in scheduler._schedule_groups.items() if name.startswith(prefix))
    return _listed("ScheduleGroups", *page(groups, parameters))


def _listed(name: str, entries: list[Any], token: str | None) -> Response:
    more = {} if token is None else {"NextToken": token}
    return _answer(scheduler._json_resp(200, {name: entries, **more}))


def _answer(answer: Any) -> Response:
    status, headers, body = answer
    return status, headers, body
