import re

import pytest

from tests.unit.terraform.blocks import (
    Block,
    blocks,
    function_modules,
    local_map,
    policy_documents,
    stage_locals,
)
from tests.unit.terraform.reach import reach_of

DOCUMENTS = [b for b in blocks("data") if b.labels[0] == "aws_iam_policy_document"]
STATEMENTS = [(document, text) for document in DOCUMENTS for text in document.inner("statement")]
# None knows a resource; of events:ListRules see
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
# Network interfaces Lambda makes itself: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
WITHOUT_A_RESOURCE = {
    "SendTraces",
    "DeliverItsLogs",
    "FindScheduleRules",
    "LetLambdaConnectItToTheNetwork",
    "KeepItsOwnCodeOffTheNetwork",
    "FindTheWorkgroupInTheConsole",
}

each_statement = pytest.mark.parametrize(
    ("document", "statement"), STATEMENTS, ids=[f"{d.name} {i}" for i, (d, _) in enumerate(STATEMENTS)]
)


def sid(statement: str) -> str:
    match = re.search(r'^ +sid += "(\w+)"', statement, re.MULTILINE)
    return match[1] if match else ""


def actions(statement: str) -> list[str]:
    match = re.search(r"^ +actions += (\[.*?\]|local\.\S+)$", statement, re.MULTILINE | re.DOTALL)
    assert match, "a statement without actions"
    return re.findall(r'"([^"]+)"', match[1])


def is_of_the_key(document: Block) -> bool:
    """In a key's policy, the resource * is the key."""
    return document.labels[1] == "key"


@each_statement
def test_a_statement_has_an_id_that_reads_like_a_sentence(document: Block, statement: str) -> None:
    assert re.fullmatch(r"(?:[A-Z][a-z]*){2,}", sid(statement))


@each_statement
def test_a_statement_is_for_named_resources(document: Block, statement: str) -> None:
    if re.search(r'^ +resources += \["\*"\]', statement, re.MULTILINE):
        assert is_of_the_key(document) or sid(statement) in WITHOUT_A_RESOURCE


@each_statement
def test_a_statement_allows_named_actions(document: Block, statement: str) -> None:
    if 'effect    = "Deny"' in statement:
        return
    allowed = [action for action in actions(statement) if "*" in action]

    assert is_of_the_key(document) or set(allowed) <= {"kms:GenerateDataKey*"}


@each_statement
def test_no_statement_allows_a_scan(document: Block, statement: str) -> None:
    assert "dynamodb:Scan" not in actions(statement)


@each_statement
def test_whoever_is_let_in_as_anyone_must_be_of_the_account_or_is_refused(
    document: Block, statement: str
) -> None:
    if 'identifiers = ["*"]' in statement and "Deny" not in statement:
        assert '"kms:CallerAccount"' in statement


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_no_id_stands_twice_in_a_document(document: Block) -> None:
    ids = [sid(statement) for statement in document.inner("statement")]

    assert len(ids) == len(set(ids))


def test_the_module_of_functions_adds_no_id_that_a_function_uses() -> None:
    """Documents are merged by statement id: the same id would replace the statement."""
    (module,) = (d for d in DOCUMENTS if d.file.parent.name == "function" and d.labels[1] == "function")
    added = {sid(statement) for statement in module.inner("statement")}

    assert not any(sid(text) in added for document, text in STATEMENTS if "functions_" in document.file.name)


ON_ONE_PURPOSE = re.compile(
    r' test += "StringEquals"\n'
    r' +variable += "kms:EncryptionContext:purpose"\n'
    r' +values += \["([a-z-]+)"\]\n'
)


def on_the_key(statement: str) -> set[str]:
    return {action for action in actions(statement) if action.startswith("kms:")}


def is_for_services(statement: str) -> bool:
    """SNS and SQS use the key in the name of who publishes or sends; the code itself does not."""
    return '"kms:ViaService"' in statement


VIA = {"sns:Publish": "local.via.sns", "sqs:SendMessage": "local.via.sqs"}


def test_whoever_publishes_or_sends_may_use_the_key_for_that_and_nobody_else() -> None:
    """Only through the service, or a role that publishes could decrypt whatever the key keeps.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
    """
    for document in DOCUMENTS:
        if not document.file.name.startswith("functions_"):
            continue
        statements = document.inner("statement")
        does = {action for text in statements for action in actions(text)}
        found = [text for text in statements if is_for_services(text)]
        through = [VIA[action] for action in sorted(VIA.keys() & does)]

        assert [on_the_key(text) for text in found] == [{"kms:Decrypt", "kms:GenerateDataKey*"}] * bool(
            through
        )
        for text in found:
            assert f"values   = [{', '.join(through)}]" in text, document.name


def test_whoever_encrypts_by_itself_may_do_so_for_one_named_purpose_only() -> None:
    purposes = {}
    for document, statement in STATEMENTS:
        if not document.file.name.startswith("functions_") or is_for_services(statement):
            continue
        if on_the_key(statement):
            condition = re.search(ON_ONE_PURPOSE, statement)
            assert condition, document.name
            purposes[document.labels[1]] = condition[1]

    users: dict[str, set[str]] = {}
    for name, purpose in purposes.items():
        users.setdefault(purpose, set()).add(name)
    assert users == {
        "paging": {"list_executions", "list_jobs", "list_schedules"},
        "webhook-secret": {"create_webhook_secret", "notify_service", "test_job", "test_target"},
    }


# What jobmanager.executions.outcome.signal would call for outcomes that these never have.
NEVER_DONE = {
    "cancel_execution": {"states:SendTaskSuccess"},  # it ends executions as cancelled only
    "reap_executions": {"states:SendTaskSuccess"},  # it tells a task only that another attempt follows
}


@pytest.mark.parametrize("function", sorted(function_modules()))
def test_a_function_may_call_what_its_code_calls_and_no_more(function: str) -> None:
    labels = policy_documents(function_modules()[function])
    allowed = {
        action
        for document, statement in STATEMENTS
        if document.labels[1] in labels and document.file.name.startswith("functions_")
        for action in [*actions(statement), *actions_on_rules(statement)]
        if not (is_for_services(statement) and action.startswith("kms:"))
    }
    # Lambda calls it in the function's name, when all retries were in vain.
    invoked_asynchronously = {"start_due_executions", "reap_executions", "reconcile_schedules"}
    called_by_lambda = {"sqs:SendMessage"} if function in invoked_asynchronously else set()

    assert allowed == reach_of(function).actions - NEVER_DONE.get(function, set()) | called_by_lambda


def actions_on_rules(statement: str) -> list[str]:
    """The actions behind local.rule_actions."""
    making = re.search(r"^  rule_making += \[(.*?)\]", stage_locals(), re.MULTILINE | re.DOTALL)
    removing = re.search(r"make_and_remove += (.*)$", local_map("rule_actions", stage_locals()), re.MULTILINE)
    assert making
    assert removing
    found = making[1] if "local.rule_actions.make" in statement else ""
    found += removing[1] if "local.rule_actions.make_and_remove" in statement else ""
    return re.findall(r'"([^"]+)"', found)


def test_rules_may_invoke_without_a_condition_on_the_account() -> None:
    """EventBridge sends no source account along, so such a condition would keep every tick out.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
    """
    permissions = [
        block for block in blocks("resource") if block.argument("principal") == '"events.amazonaws.com"'
    ]
    assert len(permissions) == 2
    for permission in permissions:
        assert permission.argument("source_arn")
        assert permission.argument("source_account") is None


def test_functions_invoke_only_what_keeps_its_failures() -> None:
    """They do so asynchronously, where nobody sees an error; see test_redrive.py for what is kept."""
    invoked = {
        re.sub(r"\s+", "", match[1])
        for _, statement in STATEMENTS
        if "lambda:InvokeFunction" in actions(statement)
        and (match := re.search(r"^ +resources += (.*)$", statement, re.MULTILINE))
    }
    kept = {
        block.argument("function_name")
        for block in blocks("resource")
        if block.labels[0] == "aws_lambda_function_event_invoke_config"
    }

    assert invoked == {"[local.start_due_arn]", "values(var.functions)"}
    assert "module.start_due_executions.function_name" in kept


def test_what_the_stage_subscribes_keeps_what_cannot_be_delivered() -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    subscriptions = [b for b in blocks("resource") if b.labels[0] == "aws_sns_topic_subscription"]

    assert [b.name for b in subscriptions if "redrive_policy" not in b.body] == []
