"""Checks requests as AWS does, before anything is stored.

Forms and limits are those of AWS's own model of the API, which botocore ships. The tests on top of it are on
pages that the functions name.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from local.aws_behaviour.scheduler import targets, zones
from local.aws_behaviour.scheduler.expressions import InvalidExpression, parse

MAX_INPUT_BYTES = 262_144
EARLIEST_START_SECONDS = 300

type Response = tuple[int, dict[str, str], bytes]

_OPERATIONS = {
    ("POST", "schedules"): "CreateSchedule",
    ("GET", "schedules"): "GetSchedule",
    ("PUT", "schedules"): "UpdateSchedule",
    ("DELETE", "schedules"): "DeleteSchedule",
    ("POST", "schedule-groups"): "CreateScheduleGroup",
    ("GET", "schedule-groups"): "GetScheduleGroup",
    ("DELETE", "schedule-groups"): "DeleteScheduleGroup",
}
_LISTS = {"/schedules": "ListSchedules", "/schedule-groups": "ListScheduleGroups"}


class Refused(Exception):
    """AWS's error on a request."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status

    def response(self) -> Response:
        """The error as an HTTP response."""
        headers = {"Content-Type": "application/json", "x-amzn-errortype": self.code}
        body = {"__type": self.code, "Message": self.message}
        return self.status, headers, json.dumps(body).encode()


@dataclass(frozen=True)
class Request:
    """One call of the API. ``parameters`` are those of the SDK, without ClientToken."""

    operation: str
    parameters: dict[str, Any]
    client_token: str | None


def read(method: str, path: str, body: bytes, query: Mapping[str, Any]) -> Request | None:
    """Reads a call about schedules or groups, and checks its form; None for others. Raises Refused."""
    if method == "GET" and path in _LISTS:
        operation, parameters = _LISTS[path], dict[str, Any]()
    elif (match := re.fullmatch(r"/(schedules|schedule-groups)/(.+)", path)) and (
        method,
        match[1],
    ) in _OPERATIONS:
        operation, parameters = _OPERATIONS[method, match[1]], {"Name": match[2]}
    else:
        return None
    shape = _input_of(operation)
    for name, member in shape.members.items():
        location, key = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "querystring" and key in query:
            value = query[key][0] if isinstance(query[key], list) else query[key]
            parameters[name] = _number(value, name) if member.type_name == "integer" else value
        elif location is None and method in ("POST", "PUT"):
            value = _json(body).get(name)
            if value is not None:
                parameters[name] = value
    problems = list(_problems(shape, parameters, ""))
    if problems:
        count = f"{len(problems)} validation error{'' if len(problems) == 1 else 's'} detected: "
        raise Refused("ValidationException", count + "; ".join(problems))
    return Request(operation, parameters, parameters.pop("ClientToken", None))


def group_named_in(method: str, body: bytes, query: Mapping[str, Any]) -> str:
    """The group of a call about one schedule, before the call is checked: "default" if it names none."""
    if method in ("POST", "PUT"):
        try:
            named = _json(body).get("GroupName")
        except Refused:
            named = None
    else:
        named = query.get("groupName")
        named = named[0] if isinstance(named, list) else named
    return named if isinstance(named, str) else "default"


def check_schedule(schedule: Mapping[str, Any], now: float) -> None:
    """Checks what AWS's model does not say about a schedule. Raises Refused.

    The text about the expression was recorded on AWS. No page has the other texts, except that on StartDate,
    which people report.
    """
    expression = schedule["ScheduleExpression"]
    try:
        parse(expression)
    except InvalidExpression:
        raise Refused("ValidationException", f"Invalid Schedule Expression {expression}.") from None
    zone = schedule.get("ScheduleExpressionTimezone")
    if zone is not None and zone not in zones.names():
        raise Refused("ValidationException", f"Invalid Schedule Expression Timezone {zone}.")
    window = schedule["FlexibleTimeWindow"]
    if (window["Mode"] == "FLEXIBLE") != ("MaximumWindowInMinutes" in window):
        message = "MaximumWindowInMinutes must be set if, and only if, the Mode is FLEXIBLE."
        raise Refused("ValidationException", message)
    if not expression.startswith("at("):
        _check_dates(schedule, now)
    _check_target(schedule["Target"])


def _check_dates(schedule: Mapping[str, Any], now: float) -> None:
    """AWS ignores both for one-time schedules.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#one-time
    """
    start, end = schedule.get("StartDate"), schedule.get("EndDate")
    if start is not None and start < now - EARLIEST_START_SECONDS:
        message = "The StartDate you specify cannot be earlier than 5 minutes ago."
        raise Refused("ValidationException", message)
    if end is not None and end <= now:
        raise Refused("ValidationException", "The EndDate you specify cannot be in the past.")
    if start is not None and end is not None and end <= start:
        raise Refused("ValidationException", "The EndDate you specify must be after the StartDate.")


def _check_target(target: Mapping[str, Any]) -> None:
    """The input of functions and state machines must be JSON.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Target.html
    No page says how large it may be; 256 KB is the limit of an event on a bus of EventBridge.
    """
    try:
        kind = targets.kind_of(target["Arn"])
    except targets.UnknownTarget as unknown:
        raise Refused("ValidationException", str(unknown)) from None
    text = target.get("Input")
    if text is None:
        return
    if len(text.encode()) > MAX_INPUT_BYTES:
        raise Refused("ValidationException", f"Input must be at most {MAX_INPUT_BYTES} bytes.")
    if kind.takes_json:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            raise Refused("ValidationException", f"Invalid RequestJson provided. Input: {text}") from None


@cache
def _input_of(operation: str) -> StructureShape:
    model = botocore.session.get_session().get_service_model("scheduler")
    shape = model.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return shape


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused("SerializationException", "The request's body is not JSON.") from None
    if not isinstance(found, dict):
        raise Refused("SerializationException", "The request's body is not a JSON object.")
    return found


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise Refused("SerializationException", f"{name}: expected a whole number, not {text!r}")
    return int(text)


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """The violations of a shape, as sentences in AWS's form."""
    if isinstance(shape, StructureShape):
        _require(value, dict, path)
        for name in shape.required_members:
            if value.get(name) is None:
                yield _sentence("null", _under(path, name), "Member must not be null")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _problems(member, value[name], _under(path, name))
    elif isinstance(shape, ListShape):
        _require(value, list, path)
        for number, item in enumerate(value, 1):
            yield from _problems(shape.member, item, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        _require(value, dict, path)
    elif shape.type_name in ("integer", "timestamp"):
        _require(value, int if shape.type_name == "integer" else (int, float), path)
        yield from _outside(shape.metadata, value, path, "value")
    elif isinstance(shape, StringShape):
        _require(value, str, path)
        if shape.enum and value not in shape.enum:
            yield _sentence(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        yield from _outside(shape.metadata, len(value), path, "length", value)
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            yield _sentence(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _outside(
    limits: Mapping[str, Any], size: float, path: str, what: str, value: Any = None
) -> Iterator[str]:
    shown = size if value is None else value
    if size < limits.get("min", size):
        yield _sentence(shown, path, f"Member must have {what} greater than or equal to {limits['min']}")
    if size > limits.get("max", size):
        yield _sentence(shown, path, f"Member must have {what} less than or equal to {limits['max']}")


def _require(value: Any, kind: type | tuple[type, ...], path: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused("SerializationException", f"{path or 'The request'} has the wrong type.")


def _under(path: str, name: str) -> str:
    camel = name[0].lower() + name[1:]
    return f"{path}.{camel}" if path else camel


def _sentence(value: Any, path: str, constraint: str) -> str:
    shown = value if value == "null" else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"
