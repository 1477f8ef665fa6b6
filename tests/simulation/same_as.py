"""What a stand-in must do as the real thing does: one property, for moto and for the emulator.

The operations are those of the code, with its expressions, on few keys and values, so that conditions often
hold and often do not. Both sides are asked the same, one after the other; answers and errors must agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from hypothesis import strategies as st

from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Lambdas
from tests.simulation.scheduler import Scheduler
from tests.simulation.step_functions import Machine, StepFunctions
from tests.simulation.story import Story
from tests.stand_ins.dynamodb import Index, Table, Tables
from tests.stand_ins.errors import Unsupported
from tests.stand_ins.values import to_item

type Json = dict[str, Any]

KEY = ("keeper", "thing_id")
INDEXES = {"by_weight": Index(("shelf", "weight")), "by_shelf": Index(("shelf", "thing_id"), ("phase",))}
NUMBERS = ("weight",)

_OWNERS, _IDS, _SHELVES = ("ann", "bob"), ("a", "b", "c"), ("x", "y")


@dataclass(frozen=True)
class Operation:
    """One call: the method of the client, and its parameters but for the table."""

    method: str
    request: Json


def stand_in() -> Tables:
    """The stand-in of the table, whose indexes are never late."""
    return Tables([Table("things", KEY, INDEXES, frozenset(NUMBERS))], lambda: 0, lambda: 0)


def table_definition(name: str) -> Json:
    """What CreateTable takes."""
    attributes = sorted({*KEY, *(each for index in INDEXES.values() for each in index.key)})
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _schema(KEY),
        "AttributeDefinitions": [
            {"AttributeName": each, "AttributeType": "N" if each in NUMBERS else "S"} for each in attributes
        ],
        "GlobalSecondaryIndexes": [
            {"IndexName": index_name, "KeySchema": _schema(index.key), "Projection": _projection(index)}
            for index_name, index in INDEXES.items()
        ],
    }


def _schema(key: tuple[str, ...]) -> list[Json]:
    return [
        {"AttributeName": each, "KeyType": kind} for each, kind in zip(key, ("HASH", "RANGE"), strict=True)
    ]


def _projection(index: Index) -> Json:
    if not index.holds:
        return {"ProjectionType": "KEYS_ONLY"}
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.holds)}


# --- the operations ---------------------------------------------------------------------------------------

_SMALL = st.integers(0, 3)
_PHASES = st.sampled_from(("running", "success"))
_KEYS = st.fixed_dictionaries({"keeper": st.sampled_from(_OWNERS), "thing_id": st.sampled_from(_IDS)})
_ITEMS = st.fixed_dictionaries(
    {"keeper": st.sampled_from(_OWNERS), "thing_id": st.sampled_from(_IDS)},
    optional={
        "phase": _PHASES,
        "shelf": st.sampled_from(_SHELVES),
        "weight": _SMALL,
        "version": _SMALL,
        "tries": st.lists(st.fixed_dictionaries({"number": _SMALL}), max_size=2),
        "last": st.fixed_dictionaries({}, optional={"ended": _SMALL, "fence": _SMALL}),
        "labels": st.lists(st.sampled_from(_IDS), max_size=2),
    },
)

_CONDITIONS = (
    "attribute_not_exists(thing_id)",
    "attribute_exists(thing_id)",
    "attribute_not_exists(thing_id) OR weight <= :small",
    "phase = :phase AND attribute_not_exists(tries)",
    # moto fails if size() meets no attribute.
    "phase = :phase AND attribute_exists(tries) AND size(tries) = :small",
    "phase = :phase AND (attribute_not_exists(weight) OR weight <> :small)",
    "#version = :small",
    "attribute_not_exists(#version) OR #version = :small",
    "attribute_exists(thing_id) AND NOT contains(labels, :name)"
    " AND (attribute_not_exists(labels) OR size(labels) < :small)",
    "attribute_exists(thing_id) AND (attribute_not_exists(#last) OR #last.ended <= :small)",
    "(attribute_not_exists(#last) OR #last.fence <= :small"
    " OR (attribute_not_exists(#last.fence) AND #last.ended <= :small))",
    "#last = :last",
    "phase = :phase AND weight < :small",
    "attribute_exists(thing_id) AND (attribute_not_exists(holders) OR size(holders) < :small"
    " OR contains(holders, :name))",
)
_UPDATES = (
    "SET phase = :new",
    "SET phase = :new, weight = :weight REMOVE labels, #last",
    "SET tries = list_append(if_not_exists(tries, :none), :try), weight = :weight REMOVE phase",
    "SET weight = :weight ADD beats :one",
    "SET #version = if_not_exists(#version, :weight) ADD beats :one",
    "SET labels = list_append(if_not_exists(labels, :none), :list_of_name)",
    "SET #last = :last, shelf = :shelf",
    "REMOVE shelf, weight",
    "ADD beats :one",
    "ADD holders :set_of_name, beats :one",
    "DELETE holders :set_of_name",
)
_ALIASES = {"#version": "version", "#last": "last", "#phase": "phase"}


@st.composite
def _values(draw: st.DrawFn) -> Json:
    name = draw(st.sampled_from(_IDS))
    return {
        ":small": draw(_SMALL),
        ":weight": draw(_SMALL),
        ":phase": draw(_PHASES),
        ":new": draw(_PHASES),
        ":name": name,
        ":list_of_name": [name],
        ":set_of_name": {name},
        ":last": draw(st.fixed_dictionaries({"ended": _SMALL}, optional={"fence": _SMALL})),
        ":shelf": draw(st.sampled_from(_SHELVES)),
        ":none": [],
        ":try": [{"number": draw(_SMALL)}],
        ":one": 1,
        ":low": draw(st.sampled_from(_IDS)),
        ":high": draw(st.sampled_from(_IDS)),
        ":keeper": draw(st.sampled_from(_OWNERS)),
    }


def _with_placeholders(request: Json, values: Json) -> Json:
    """Adds the names and values that the expressions use."""
    text = " ".join(str(value) for name, value in request.items() if name.endswith("Expression"))
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").replace(".", " ").split())
    names = {name: _ALIASES[name] for name in _ALIASES if name in words}
    used = {name: values[name] for name in values if name in words}
    return (
        request
        | ({"ExpressionAttributeNames": names} if names else {})
        | ({"ExpressionAttributeValues": to_item(used)} if used else {})
    )


@st.composite
def _writes(draw: st.DrawFn) -> tuple[str, Json]:
    """A put, an update or a delete, nearly always on a condition."""
    kind = draw(st.sampled_from(("Put", "Update", "Update", "Update", "Delete")))
    request: Json = {}
    if kind == "Put":
        request["Item"] = to_item(draw(_ITEMS))
    else:
        request["Key"] = to_item(draw(_KEYS))
    if kind == "Update":
        request["UpdateExpression"] = draw(st.sampled_from(_UPDATES))
    if draw(st.integers(0, 5)):
        request["ConditionExpression"] = draw(st.sampled_from(_CONDITIONS))
    return kind, _with_placeholders(request, draw(_values()))


@st.composite
def _single(draw: st.DrawFn) -> Operation:
    kind, request = draw(_writes())
    returned = {"Update": "ALL_NEW", "Delete": "ALL_OLD"}
    more = {"ReturnValues": returned[kind]} if kind in returned else {}
    return Operation(f"{kind.lower()}_item", request | more)


@st.composite
def _transactions(draw: st.DrawFn) -> Operation:
    writes = draw(st.lists(_writes(), min_size=1, max_size=3))
    return Operation("transact_write_items", {"TransactItems": [{kind: request} for kind, request in writes]})


_INVALID: tuple[tuple[str, Json], ...] = (
    ("SET phase = :new", {":more": 1}),  # a value too many
    ("SET last = :last", {}),  # a reserved word
    ("SET keeper = :new", {}),  # a part of the key
    ("SET phase = :new, phase = :phase", {}),  # twice the same
    ("SET phase = :new, #phase = :phase", {}),
)


@st.composite
def _invalid(draw: st.DrawFn) -> Operation:
    """A request that is not valid, whatever the item is."""
    update, more = draw(st.sampled_from(_INVALID))
    request: Json = {"Key": to_item(draw(_KEYS)), "UpdateExpression": update, "ReturnValues": "ALL_NEW"}
    request = _with_placeholders(request, draw(_values()))
    request["ExpressionAttributeValues"] |= to_item(more)
    return Operation("update_item", request)


_QUERIES: tuple[tuple[Json, str], ...] = (
    ({"ConsistentRead": True}, "keeper = :keeper"),
    ({"ConsistentRead": True}, "keeper = :keeper AND thing_id BETWEEN :low AND :high"),
    ({"ConsistentRead": True}, "keeper = :keeper AND thing_id > :low"),
    ({"ConsistentRead": True, "Select": "COUNT"}, "keeper = :keeper AND thing_id > :low"),
    ({"IndexName": "by_weight"}, "shelf = :shelf AND weight < :small"),
    ({"IndexName": "by_weight"}, "shelf = :shelf AND weight > :small"),
    ({"IndexName": "by_shelf"}, "shelf = :shelf"),
    ({"IndexName": "by_shelf", "FilterExpression": "attribute_exists(phase)"}, "shelf = :shelf"),
    ({"IndexName": "by_shelf", "FilterExpression": "#phase IN (:phase, :new)"}, "shelf = :shelf"),
    ({"ConsistentRead": True, "FilterExpression": "weight > :small"}, "keeper = :keeper"),
)


@st.composite
def _queries(draw: st.DrawFn) -> Operation:
    how, condition = draw(st.sampled_from(_QUERIES))
    request: Json = how | {"KeyConditionExpression": condition}
    if draw(st.booleans()):
        request["Limit"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        request["ScanIndexForward"] = False
    values = draw(_values())
    values[":low"], values[":high"] = sorted((values[":low"], values[":high"]))
    return Operation("query", _with_placeholders(request, values))


_READS = st.builds(
    lambda key: Operation("get_item", {"Key": to_item(key), "ConsistentRead": True}), _KEYS
) | st.builds(
    lambda keys: Operation("batch_get_item", {"Keys": [to_item(key) for key in keys]}),
    st.lists(_KEYS, min_size=1, max_size=3),
)

_VALID = st.one_of(_single(), _single(), _single(), _transactions(), _transactions(), _queries(), _READS)
OPERATIONS = st.lists(_VALID | _invalid(), min_size=1, max_size=15)
VALID_OPERATIONS = st.lists(_VALID, min_size=1, max_size=15)
"""Without those that are not valid, which the emulator takes."""


# --- the comparison ---------------------------------------------------------------------------------------


class Asked:
    """One side: answers in a form in which both sides can be compared."""

    def __init__(self, client: Any, table: str, example: str = "") -> None:
        self._client = client
        self._table = table
        self._example = example

    def answer(self, operation: Operation) -> Any:
        """The answer, or the code of the error."""
        try:
            return self._answer(operation)
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", ())
            return error.response["Error"]["Code"], [reason["Code"] for reason in reasons]

    def _answer(self, operation: Operation) -> Any:
        request, call = self._own(operation.request), getattr(self._client, operation.method)
        if operation.method == "transact_write_items":
            named = [
                {kind: {"TableName": self._table, **each} for kind, each in item.items()}
                for item in request["TransactItems"]
            ]
            call(TransactItems=named)
            return "written"
        if operation.method == "batch_get_item":
            found = call(RequestItems={self._table: {"Keys": request["Keys"], "ConsistentRead": True}})
            return sorted(map(_comparable, found["Responses"].get(self._table, [])))
        if operation.method == "query":
            return self._pages(call, {"TableName": self._table, **request})
        answer = call(TableName=self._table, **request)
        return {name: _comparable(answer[name]) for name in ("Item", "Attributes") if name in answer}

    @staticmethod
    def _pages(call: Callable[..., Json], request: Json) -> Any:
        """All pages: where the last one ends is left to each side."""
        items: list[str] = []
        count = 0
        while True:
            answer = call(**dict(request))
            items += map(_comparable, answer.get("Items", []))
            count += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return count, items
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _own(self, value: Any) -> Any:
        """The same with owners and shelves of this example only."""
        if isinstance(value, dict):
            if value.keys() == {"S"} and value["S"] in (*_OWNERS, *_SHELVES):
                return {"S": f"{self._example}{value['S']}"}
            return {name: self._own(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._own(each) for each in value]
        return value


def _comparable(item: Mapping[str, Any]) -> str:
    return repr(_sorted(item))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted(value[name]) if name == "SS" else _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def compare(operations: list[Operation], real: Asked, ours: Asked) -> None:
    """Asks both the same; fails where they differ."""
    for number, operation in enumerate(operations):
        try:
            mine = ours.answer(operation)
        except Unsupported:
            continue  # it refuses loudly, and changes nothing
        theirs = real.answer(operation)
        assert mine == theirs, (number, operation)


# --- rules ------------------------------------------------------------------------------------------------

_RULES = ("one", "two")
_EXPRESSIONS = ("rate(1 minute)", "cron(0 2 * * ? *)")
_TARGETS = ("start", "other")
_NAMES = st.sampled_from(_RULES)

RULE_OPERATIONS = st.lists(
    st.one_of(
        st.builds(
            lambda name, schedule, state: Operation(
                "put_rule", {"Name": name, "ScheduleExpression": schedule, "State": state}
            ),
            _NAMES,
            st.sampled_from(_EXPRESSIONS),
            st.sampled_from(("ENABLED", "DISABLED")),
        ),
        st.builds(
            lambda name, target: Operation(
                "put_targets",
                {
                    "Rule": name,
                    "Targets": [{"Id": target, "Arn": f"arn:aws:lambda:us-east-1:1:function:{target}"}],
                },
            ),
            _NAMES,
            st.sampled_from(_TARGETS),
        ),
        st.builds(
            lambda name, target: Operation("remove_targets", {"Rule": name, "Ids": [target]}),
            _NAMES,
            st.sampled_from(_TARGETS),
        ),
        st.builds(lambda name: Operation("delete_rule", {"Name": name}), _NAMES),
        st.builds(lambda name: Operation("describe_rule", {"Name": name}), _NAMES),
        st.builds(lambda name: Operation("list_targets_by_rule", {"Rule": name}), _NAMES),
        st.just(Operation("list_rules", {"NamePrefix": ""})),
    ),
    min_size=1,
    max_size=15,
)


class AskedForRules:
    """One side's rules, of one example."""

    def __init__(self, client: Any, example: str) -> None:
        self._client = client
        self._example = example

    def answer(self, operation: Operation) -> Any:
        """The answer, or the code of the error."""
        named = {
            name: f"{self._example}{value}" if name in ("Name", "Rule", "NamePrefix") else value
            for name, value in operation.request.items()
        }
        try:
            answer = getattr(self._client, operation.method)(**named)
        except ClientError as error:
            return error.response["Error"]["Code"]
        if operation.method == "list_rules":
            return sorted(_rule(rule) for rule in answer["Rules"])
        if operation.method == "list_targets_by_rule":
            return sorted(target["Id"] for target in answer["Targets"])
        return _rule(answer) if operation.method == "describe_rule" else "done"


def _rule(described: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(described[name] for name in ("Name", "ScheduleExpression", "State"))


def compare_rules(
    operations: list[Operation],
    real: AskedForRules,
    ours: AskedForRules,
    tolerated: Collection[tuple[str, str, str]] = (),
) -> None:
    """Asks both the same; fails where they differ.

    ``tolerated``: the method, our answer and theirs, where theirs is not that of AWS, and changes nothing.
    """
    for number, operation in enumerate(operations):
        mine, theirs = ours.answer(operation), real.answer(operation)
        if (operation.method, str(mine), str(theirs)) not in tolerated:
            assert mine == theirs, (number, operation)


# --- state machines ---------------------------------------------------------------------------------------

_MACHINE_CONDITIONS = (
    "{% $states.input.status in ['success', 'skipped'] %}",
    "{% $states.input.status = 'running' %}",
    "{% $exists($states.input.refusal) %}",
    "{% $states.input.number > 1 %}",
    "{% $states.input.job.enabled %}",
)
_ENDS = ("Whole", "Merged", "Named", "Plain", "Past")
_STATES: Json = {
    "Whole": {"Type": "Succeed"},
    # A Fail, because the emulator forgets the Output of a Succeed.
    "Merged": {
        "Type": "Fail",
        "Error": "{% $merge([$states.input, {'status': $string($states.input.number) & ' s'}]).status %}",
    },
    "Named": {
        "Type": "Fail",
        "Error": "{% $states.input.status %}",
        "Cause": "{% $exists($states.input.refusal) ? $states.input.refusal : '' %}",
    },
    "Plain": {"Type": "Fail", "Error": "Plain", "Cause": "{% $states.input.refusal %}"},
    "Past": {"Type": "Wait", "Timestamp": "2026-01-01T00:00:00Z", "Next": "Whole"},
}


@st.composite
def _machines(draw: st.DrawFn) -> tuple[str, str]:
    """A state machine, and an input."""
    rules = draw(
        st.lists(
            st.builds(
                lambda condition, end: {"Condition": condition, "Next": end},
                st.sampled_from(_MACHINE_CONDITIONS),
                st.sampled_from(_ENDS),
            ),
            min_size=1,
            max_size=3,
        )
    )
    choice = {"Type": "Choice", "Choices": rules, "Default": draw(st.sampled_from(_ENDS))}
    found = draw(
        st.fixed_dictionaries(
            {"status": st.sampled_from(("success", "running", "fail")), "number": _SMALL},
            optional={"refusal": st.just("no"), "job": st.just({"enabled": True})},
        )
    )
    definition = {"QueryLanguage": "JSONata", "StartAt": "Which", "States": {"Which": choice, **_STATES}}
    return json.dumps(definition), json.dumps(found)


MACHINES = _machines()


def our_end(definition: str, found: str) -> Json:
    """How the stand-in ends."""
    scheduler, choices, story = Scheduler(0), Choices(0, {}), Story()
    calls = Calls(scheduler, choices, story, Odds())
    lambdas = Lambdas({}, scheduler, choices, calls, story)
    machine = Machine.of(definition)
    machines = StepFunctions({"machine": machine}, scheduler, choices, calls, lambdas, story)
    machines.start_execution("machine", "one", found)
    scheduler.run()
    ended = machines.executions["one"]
    if ended.status == "SUCCEEDED":
        return {"status": ended.status, "output": ended.output}
    # What AWS says of an expression that fails is for people.
    is_named = ended.error != "States.QueryEvaluationError"
    return {"status": ended.status, "error": ended.error, "cause": ended.cause if is_named else ""}


def their_end(described: Json) -> Json:
    """How an execution ended that DescribeExecution describes."""
    if described["status"] == "SUCCEEDED":
        return {"status": described["status"], "output": json.loads(described["output"])}
    is_named = described.get("error") != "States.QueryEvaluationError"
    cause = described.get("cause", "") if is_named else ""
    return {"status": described["status"], "error": described.get("error", ""), "cause": cause}
