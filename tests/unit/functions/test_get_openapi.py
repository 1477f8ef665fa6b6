"""Compares the OpenAPI document with the routes, with the code, and with itself."""

import json
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from openapi_spec_validator import validate

from functions.create_webhook_secret.handler import overlap_of
from functions.get_openapi.handler import handler, openapi
from functions.start_execution.handler import by_hand_of
from jobmanager.api.http import api_handler
from jobmanager.api.schema_files import schema_file
from jobmanager.callbacks import token as callback_token
from jobmanager.core import names
from jobmanager.core.errors import BadRequest, ManagerError, Refused
from jobmanager.executions.cancel import cause_of
from jobmanager.executions.events import _EVENT_OF_STATUS
from jobmanager.executions.history import list_executions
from jobmanager.executions.reasons import CODES
from jobmanager.executions.record import FINAL_STATUSES, RUNNING, WAITING
from jobmanager.jobs.definition import DEFINITION_FIELDS
from jobmanager.jobs.listing import list_jobs
from jobmanager.jobs.pausing import pausing_of
from jobmanager.limits.definition import DEFINITION_FIELDS as LIMIT_FIELDS
from jobmanager.limits.listing import list_limits
from jobmanager.schedules.listing import list_schedules
from jobmanager.schedules.preview import preview_schedule
from jobmanager.schedules.trigger_kind import TriggerState
from jobmanager.schedules.warnings import ScheduleWarning
from tests.openapi_document import Document, Json, Operation, objects
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context
from tests.unit.terraform.blocks import routes

API_URL = "https://manager.example"
VERSION = "1.2.3"
DOCUMENT = Document(openapi(API_URL, VERSION))
SCHEMAS: dict[str, Json] = DOCUMENT.content["components"]["schemas"]

# Clients rely on these types, so a type and its status never change.
PROBLEMS = {
    "Refused": (400, "about:blank"),
    "BadRequest": (400, "/problems/bad-request"),
    "Forbidden": (403, "/problems/forbidden"),
    "NotFound": (404, "/problems/not-found"),
    "Conflict": (409, "/problems/conflict"),
    "ScheduleLimitReached": (409, "/problems/schedule-limit"),
    "ManagedElsewhere": (409, "/problems/managed-elsewhere"),
    "Gone": (410, "/problems/execution-over"),
    "PreconditionFailed": (412, "/problems/precondition-failed"),
    "UnsupportedMediaType": (415, "/problems/unsupported-media-type"),
    "TargetTestFailed": (422, "/problems/target-test-failed"),
    "Contended": (503, "/problems/contended"),
}
INTERNAL = (500, "/problems/internal-error")

each_operation = pytest.mark.parametrize(
    "operation", DOCUMENT.operations, ids=[operation.operation_id for operation in DOCUMENT.operations]
)


def refusals(kind: type[Refused] = Refused) -> dict[str, tuple[int, str]]:
    """Each class of refusal, with its status and its type."""
    found = {kind.__name__: (kind.http_status, kind.type)}
    for below in kind.__subclasses__():
        found |= refusals(below)
    return found


def contents(operation: Operation) -> list[Json]:
    """Each media type of an operation's body and answers."""
    described = operation.described.get("requestBody", {}), *DOCUMENT.answers(operation).values()
    return [media for each in described for media in each.get("content", {}).values()]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT.content)
    assert DOCUMENT.content["openapi"].startswith("3.1.")


def test_the_handler_answers_the_document_with_the_stages_url_and_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_URL", API_URL)
    monkeypatch.setenv("VERSION", VERSION)

    answer = handler(api_event(), lambda_context())

    assert (answer["statusCode"], answer["headers"]) == (200, {"content-type": "application/json"})
    assert json.loads(answer["body"]) == DOCUMENT.content
    assert DOCUMENT.content["servers"] == [{"url": API_URL}]
    assert DOCUMENT.content["info"]["version"] == VERSION


@pytest.mark.parametrize(
    ("name", "file"), [("Job", "job"), ("Callback", "callback"), ("LimitDefinition", "limit")]
)
def test_a_body_is_described_by_the_schema_that_validates_it(name: str, file: str) -> None:
    kept = schema_file(file)
    of_a_file = {key: kept[key] for key in ("$schema", "$id")}

    assert SCHEMAS[name] | of_a_file == kept
    assert not SCHEMAS[name].keys() & of_a_file.keys()


def test_the_operations_are_the_routes_with_the_same_authorization() -> None:
    security: dict[str, list[Any]] = {"AWS_IAM": [{"sigv4": []}], "NONE": []}

    assert {operation.route: operation.described["security"] for operation in DOCUMENT.operations} == {
        key: security[authorization] for key, (_, authorization) in routes().items()
    }


@each_operation
def test_an_operation_is_named_after_its_function(operation: Operation) -> None:
    function, _ = routes()[operation.route]

    assert re.fullmatch(rf"{function}(_[a-z_]+)?", operation.operation_id)


def test_operation_ids_are_unique() -> None:
    found = [operation.operation_id for operation in DOCUMENT.operations]

    assert len(set(found)) == len(found)


@each_operation
def test_an_operation_takes_the_parameters_of_its_path(operation: Operation) -> None:
    given = [p["name"] for p in DOCUMENT.parameters(operation) if p["in"] == "path"]

    assert sorted(given) == sorted(re.findall(r"\{([^}]+)\}", operation.path))


@each_operation
def test_an_operation_lists_the_errors_that_any_request_may_get(operation: Operation) -> None:
    expected = {429, 500, 503} | ({403} if operation.described["security"] else set())
    expected |= {404} if "{" in operation.path else set()
    expected |= {400, 415} if "requestBody" in operation.described else set()

    assert expected <= set(DOCUMENT.answers(operation))
    assert operation.described["summary"]
    assert operation.described["tags"][0] in {tag["name"] for tag in DOCUMENT.content["tags"]}


@each_operation
def test_every_example_matches_its_schema(operation: Operation) -> None:
    for media in contents(operation):
        values = [DOCUMENT.resolved(example)["value"] for example in media["examples"].values()]
        assert values
        assert [DOCUMENT.errors(media["schema"], value) for value in values] == [[]] * len(values)
    for parameter in DOCUMENT.parameters(operation):
        assert DOCUMENT.errors(parameter["schema"], parameter["example"]) == []
        assert parameter["description"]


@each_operation
def test_every_example_of_a_problem_has_the_right_status_and_a_type_of_the_code(operation: Operation) -> None:
    for status, answer in DOCUMENT.answers(operation).items():
        for media_type, media in answer.get("content", {}).items():
            if status < 400:
                assert media_type == "application/json"
            elif media_type == "application/json":
                assert media["schema"] == {"$ref": "#/components/schemas/GatewayError"}
            else:
                assert media_type == "application/problem+json"
                assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
                for example in media["examples"].values():
                    problem = DOCUMENT.resolved(example)["value"]
                    assert problem["status"] == status
                    assert (status, problem["type"]) in {*PROBLEMS.values(), INTERNAL}


@each_operation
def test_answers_allow_no_undescribed_fields(operation: Operation) -> None:
    if operation.operation_id == "get_openapi":
        return
    for answer in DOCUMENT.answers(operation).values():
        for media in answer.get("content", {}).values():
            described = [found for found in objects(DOCUMENT, media["schema"]) if "properties" in found]
            for found in described:
                # Answers that API Gateway makes itself may have other fields.
                assert found == SCHEMAS["GatewayError"] or found["additionalProperties"] is False


def test_problems_keep_their_types_and_are_all_in_the_document() -> None:
    assert refusals() == PROBLEMS
    types = {kind for _, kind in (*PROBLEMS.values(), INTERNAL)} - {"about:blank"}
    assert SCHEMAS["Problem"]["properties"]["type"]["enum"] == sorted(types)


@pytest.mark.parametrize("error", [*Refused.__subclasses__(), RuntimeError, ManagerError])
def test_the_answer_to_an_error_is_a_problem_document(error: type[Exception]) -> None:
    @api_handler
    def failing(event: Json, context: Any) -> Json:
        raise error("what is wrong")

    answer = failing(api_event(), lambda_context())

    assert answer["headers"] == {"content-type": "application/problem+json"}
    assert DOCUMENT.errors({"$ref": "#/components/schemas/Problem"}, json.loads(answer["body"])) == []


def test_names_and_identifiers_have_the_patterns_of_the_code() -> None:
    def pattern(of: re.Pattern[str]) -> str:
        return f"^{of.pattern}$"

    path_parameters = {
        parameter["name"]: DOCUMENT.resolved(parameter["schema"])["pattern"]
        for operation in DOCUMENT.operations
        for parameter in DOCUMENT.parameters(operation)
        if parameter["in"] == "path" and parameter["name"] not in ("callback_token", "secret_id")
    }
    assert path_parameters == {
        "service_name": pattern(names._NAME),
        "job_name": pattern(names._NAME),
        "limit_name": pattern(names._NAME),
        "execution_id": pattern(names._EXECUTION_ID),
    }
    assert SCHEMAS["JobGuid"]["pattern"] == f"^{names._GUID}$"


def test_a_real_callback_token_matches_its_schema() -> None:
    execution_id = names.execution_id(names.job_guid("billing", "nightly"), NOON_MS)
    token = callback_token.callback_url("", execution_id, callback_token.new_secret(1)).removeprefix("/")
    schema = DOCUMENT.content["components"]["parameters"]["callback_token"]["schema"]

    assert DOCUMENT.errors(schema, token) == []
    assert DOCUMENT.errors(schema, token[:-1])


def test_enums_match_the_code() -> None:
    assert SCHEMAS["Status"]["enum"] == [WAITING, RUNNING, *FINAL_STATUSES]
    assert SCHEMAS["Schedule"]["properties"]["rule"]["enum"] == list(get_args(TriggerState.__value__))
    code = get_type_hints(ScheduleWarning)["code"]
    assert SCHEMAS["Warning"]["properties"]["code"]["enum"] == list(get_args(code))


def test_a_saved_job_has_all_fields_of_a_put() -> None:
    put = set(SCHEMAS["Job"]["properties"]) - {"test_invocation"}

    assert put == set(DEFINITION_FIELDS)
    assert put <= set(SCHEMAS["SavedJob"]["properties"])


def test_a_saved_limit_has_all_fields_of_a_put() -> None:
    put = set(SCHEMAS["LimitDefinition"]["properties"])

    assert put == set(LIMIT_FIELDS)
    assert put <= set(SCHEMAS["SavedLimit"]["properties"])


def test_the_codes_of_reasons_match_the_code() -> None:
    assert SCHEMAS["SkipCode"]["enum"] == list(CODES)


def accepted_fields(take: Callable[[Any], Any]) -> set[str]:
    """The accepted fields, as the code lists them when it refuses an unknown one."""
    with pytest.raises(BadRequest) as refusal:
        take({"colour": "red"})
    return set(refusal.value.extra["errors"][0]["detail"].rpartition("one of ")[2].split(", ")) - {""}


@pytest.mark.parametrize(
    ("schema", "take"),
    [
        ("JobSearch", lambda body: list_jobs(body, NOON_MS)),
        ("ExecutionSearch", lambda body: list_executions(body, NOON_MS)),
        ("RunNow", lambda body: by_hand_of(body, "ann")),
        ("Pause", lambda body: pausing_of(body, NOON_MS)),
        ("Cancel", lambda body: cause_of(body, "ann")),
        ("CreateWebhookSecret", overlap_of),
    ],
)
def test_a_bodys_schema_has_the_fields_that_the_code_accepts(schema: str, take: Callable[[Any], Any]) -> None:
    assert set(SCHEMAS[schema]["properties"]) == accepted_fields(take)


@pytest.mark.parametrize(
    ("operation_id", "take"),
    [
        ("list_jobs", lambda query: list_jobs(query, NOON_MS)),
        ("list_jobs_of_service", lambda query: list_jobs(query, NOON_MS)),
        ("list_executions", lambda query: list_executions(query, NOON_MS)),
        ("list_schedules", lambda query: list_schedules(query, NOON_MS)),
        ("list_limits", lambda query: list_limits(query, NOON_MS)),
        ("preview_schedule", lambda query: preview_schedule(query, NOON_MS)),
    ],
)
def test_an_operation_has_the_query_parameters_that_the_code_accepts(
    operation_id: str, take: Callable[[Any], Any]
) -> None:
    (operation,) = (found for found in DOCUMENT.operations if found.operation_id == operation_id)

    assert {parameter["name"] for parameter in DOCUMENT.parameters(operation)} == accepted_fields(take)


WEBHOOKS: dict[str, Json] = {
    name: item["post"]["requestBody"]["content"]["application/json"]
    for name, item in DOCUMENT.content["webhooks"].items()
}


def schemas_of(webhook: str) -> list[str]:
    schema = WEBHOOKS[webhook]["schema"]
    return [each["$ref"].rpartition("/")[2] for each in schema.get("oneOf") or schema["anyOf"]]


def test_each_example_of_an_event_and_a_notification_matches_its_schema() -> None:
    examples = {
        name: [each["value"] for each in found["examples"].values()] for name, found in WEBHOOKS.items()
    }

    assert [
        DOCUMENT.errors(WEBHOOKS[name]["schema"], each) for name in examples for each in examples[name]
    ] == [[]] * 7
    assert [error for event in examples["event"] for error in DOCUMENT.event_errors(event)] == []
    assert [error for each in examples["notification"] for error in DOCUMENT.notification_errors(each)] == []
    (due, test) = examples["notification"]
    assert DOCUMENT.notification_errors({**due, "colour": "red"})
    assert DOCUMENT.notification_errors({**test, "colour": "red"})
    assert DOCUMENT.notification_errors({name: due[name] for name in due if name != "callback_url"})
    assert [bool(DOCUMENT.event_errors({**event, "colour": "red"})) for event in examples["event"]] == [
        True
    ] * 5
    assert DOCUMENT.event_errors({"event": "job.painted"}) == ["no event job.painted"]


@pytest.mark.parametrize("webhook", ["event", "notification"])
def test_events_and_notifications_allow_no_undescribed_fields(webhook: str) -> None:
    for name in schemas_of(webhook):
        for found in objects(DOCUMENT, SCHEMAS[name]):
            assert "properties" not in found or found["additionalProperties"] is False


def test_the_schema_of_each_event_is_found_by_its_name() -> None:
    mapping = WEBHOOKS["event"]["schema"]["discriminator"]["mapping"]
    named = {
        event: f"#/components/schemas/{name}"
        for name in schemas_of("event")
        for event in [*SCHEMAS[name]["properties"]["event"].get("enum", ())]
        or [SCHEMAS[name]["properties"]["event"]["const"]]
    }

    assert mapping == named
    of_status = {name for name, schema in named.items() if schema.endswith("/ExecutionEvent")}
    assert set(_EVENT_OF_STATUS.values()) == of_status
