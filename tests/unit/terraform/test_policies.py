import re

import pytest

from tests.unit.terraform.blocks import (
    TERRAFORM,
    Block,
    blocks,
    fork_functions,
    function_modules,
    policy_statements,
)
from tests.unit.terraform.reach import reach_of

DOCUMENTS = [b for b in blocks("data") if b.labels[0] == "aws_iam_policy_document"]
STATEMENTS = [(document, text) for document in DOCUMENTS for text in document.inner("statement")]
# The actions of these statements support no resource. For events:ListRules and scheduler:ListSchedules see
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
# For network interfaces, which Lambda makes:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
WITHOUT_A_RESOURCE = {
    "SendTraces",
    "DeliverItsLogs",
    "FindScheduleTriggers",
    "LetLambdaConnectItToTheNetwork",
    "KeepItsOwnCodeOffTheNetwork",
    "FindTheWorkgroupInTheConsole",
}

# The statements of each function's policy, including those that functions share.
POLICIES = {
    name: policy_statements(module) for name, module in {**function_modules(), **fork_functions()}.items()
}
OF_THE_STAGE = {name: POLICIES[name] for name in function_modules()}

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


def resources(statement: str) -> list[str]:
    """The expressions of a statement's resources."""
    match = re.search(r"^ +resources += (?:\[(.*?)\]|(\w[^\n]*))$", statement, re.MULTILINE | re.DOTALL)
    assert match, "a statement without resources"
    return re.findall(r'"(?:[^"\\]|\$\{.*?\})*"|[^\s,]+', match[1] or match[2])


def conditions(statement: str) -> str:
    return " ".join(re.sub(r".*?(condition \{|$)", r"\1", statement, count=1, flags=re.DOTALL).split())


def is_of_the_key(document: Block) -> bool:
    """Whether it is a key's policy, in which the resource * means the key."""
    return document.labels[1] == "key"


@each_statement
def test_a_statements_id_reads_like_a_sentence(document: Block, statement: str) -> None:
    assert re.fullmatch(r"(?:[A-Z][a-z]*){2,}", sid(statement))


@each_statement
def test_a_statement_names_its_resources(document: Block, statement: str) -> None:
    if re.search(r'^ +resources += \["\*"\]', statement, re.MULTILINE):
        assert is_of_the_key(document) or sid(statement) in WITHOUT_A_RESOURCE


@each_statement
def test_a_statement_names_its_actions(document: Block, statement: str) -> None:
    if 'effect    = "Deny"' in statement:
        return
    allowed = [action for action in actions(statement) if "*" in action]

    assert is_of_the_key(document) or set(allowed) <= {"kms:GenerateDataKey*"}


@each_statement
def test_no_statement_allows_a_scan(document: Block, statement: str) -> None:
    assert "dynamodb:Scan" not in actions(statement)


@each_statement
def test_a_statement_that_allows_anyone_is_limited_to_the_account(document: Block, statement: str) -> None:
    if 'identifiers = ["*"]' in statement and "Deny" not in statement:
        assert '"kms:CallerAccount"' in statement


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_ids_are_unique_in_a_document(document: Block) -> None:
    ids = [sid(statement) for statement in document.inner("statement")]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("function", POLICIES)
def test_ids_are_unique_in_a_functions_policy(function: str) -> None:
    """Source documents must not share an id. A statement replaces the statement of a source with the same id.

    https://registry.terraform.io/providers/hashicorp/aws/latest/docs/data-sources/iam_policy_document
    """
    (module,) = (d for d in DOCUMENTS if d.file.parent.name == "function" and d.labels[1] == "function")
    ids = [sid(statement) for statement in [*POLICIES[function], *module.inner("statement")]]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("function", POLICIES)
def test_no_two_statements_of_a_policy_allow_the_same(function: str) -> None:
    """IAM decides by one of the two, so tests/grants.py would report the other as never used."""
    allowed = [
        (action, resource, conditions(statement))
        for statement in POLICIES[function]
        for action in actions(statement)
        for resource in resources(statement)
    ]

    assert len(allowed) == len(set(allowed))


def test_a_statement_that_several_functions_need_is_written_once() -> None:
    places: dict[tuple[str, ...], set[str]] = {}
    for document, statement in STATEMENTS:
        if document.file.parent == TERRAFORM and document.file.name.startswith(("functions_", "statements")):
            what = (*sorted(actions(statement)), "on", *resources(statement), conditions(statement))
            places.setdefault(what, set()).add(f"{document.name}: {sid(statement)}")

    assert len(places) > 20
    assert [where for where in places.values() if len(where) > 1] == []


ON_ONE_PURPOSE = re.compile(
    r' test += "StringEquals"\n'
    r' +variable += "kms:EncryptionContext:purpose"\n'
    r' +values += \["([a-z-]+)"\]\n'
)


def on_the_key(statement: str) -> set[str]:
    return {action for action in actions(statement) if action.startswith("kms:")}


def is_for_services(statement: str) -> bool:
    """Whether only SNS or SQS uses the key, when the function publishes or sends. Its code does not."""
    return '"kms:ViaService"' in statement


VIA = {"sns:Publish": "local.via.sns", "sqs:SendMessage": "local.via.sqs"}


@pytest.mark.parametrize("function", OF_THE_STAGE)
def test_a_function_may_use_the_key_through_exactly_the_services_that_it_calls(function: str) -> None:
    """It may use the key only through the service. Otherwise it could decrypt everything under the key.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
    """
    statements = OF_THE_STAGE[function]
    does = {action for text in statements for action in actions(text)}
    found = [text for text in statements if is_for_services(text)]
    through = re.findall(r'variable = "kms:ViaService"\n +values += \[(.*)\]', "\n".join(found))

    assert sorted(through) == sorted(VIA[action] for action in VIA.keys() & does)
    for text in found:
        assert on_the_key(text) == {"kms:Decrypt", "kms:GenerateDataKey*"} == set(actions(text))
        assert resources(text) == ["aws_kms_key.stage.arn"]


def test_a_function_that_encrypts_itself_may_do_so_for_one_named_purpose() -> None:
    purposes: dict[str, str] = {}
    for function, statements in OF_THE_STAGE.items():
        for statement in statements:
            if on_the_key(statement) and not is_for_services(statement):
                condition = re.search(ON_ONE_PURPOSE, statement)
                assert condition, function
                assert purposes.setdefault(function, condition[1]) == condition[1]

    users: dict[str, set[str]] = {}
    for name, purpose in purposes.items():
        users.setdefault(purpose, set()).add(name)
    assert users == {
        "paging": {
            "cancel_executions",
            "list_executions",
            "list_jobs",
            "list_limits",
            "list_schedules",
            "rerun_executions",
        },
        "webhook-secret": {
            "create_webhook_secret",
            "notify_service",
            "run_execution",
            "test_job",
            "test_target",
        },
    }


# What jobmanager.executions.task_signal.signal would call for outcomes that these never have.
NEVER_DONE = {
    # They end executions as cancelled only, which is no failure.
    "cancel_execution": {"states:SendTaskSuccess"},
    "cancel_executions": {"states:SendTaskSuccess"},
    "start_waiting_executions": {"states:SendTaskSuccess"},
    "reap_executions": {"states:SendTaskSuccess"},  # it signals a task only that another attempt follows
}


@pytest.mark.parametrize("function", sorted(function_modules()))
def test_a_function_may_make_exactly_the_calls_of_its_code(function: str) -> None:
    allowed = {
        action
        for statement in OF_THE_STAGE[function]
        for action in actions(statement)
        if not (is_for_services(statement) and action.startswith("kms:"))
    }
    # Lambda itself uses this permission after the last retry fails.
    invoked_asynchronously = {
        "finish_execution",
        "pause_failing_job",
        "reap_executions",
        "reconcile_schedules",
        "start_children",
        "start_due_executions",
    }
    called_by_lambda = {"sqs:SendMessage"} if function in invoked_asynchronously else set()
    if function == "start_spread_executions":  # Lambda polls its queue
        called_by_lambda = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}

    assert allowed == reach_of(function).actions - NEVER_DONE.get(function, set()) | called_by_lambda


# What each function may do with each table and index. The test above compares the actions with the code, but
# cannot tell their tables.
ON_TABLES: dict[str, dict[str, str]] = {
    "backfill_job": {"executions": "Query", "jobs": "GetItem", "schedules": "GetItem"},
    "begin_execution": {
        "executions": "GetItem PutItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "schedules": "GetItem",
    },
    "cancel_execution": {
        "executions": "DeleteItem GetItem UpdateItem",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "cancel_executions": {
        "executions": "BatchGetItem DeleteItem GetItem Query UpdateItem",
        "executions/by_day": "Query",
        "executions/by_service": "Query",
        "executions/late": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "create_webhook_secret": {"services": "GetItem UpdateItem"},
    "delete_job": {"jobs": "GetItem UpdateItem", "schedules": "DeleteItem GetItem UpdateItem"},
    "delete_limit": {"jobs": "Query", "limits": "DeleteItem GetItem"},
    "delete_webhook_secret": {"services": "GetItem UpdateItem"},
    "finish_execution": {
        "executions": "GetItem PutItem UpdateItem",
        "jobs": "GetItem UpdateItem",
        "limits": "UpdateItem",
    },
    "get_chain": {"executions": "GetItem"},
    "get_execution": {"executions": "GetItem"},
    "get_job": {"jobs": "GetItem"},
    "get_limit": {"limits": "GetItem"},
    "list_executions": {
        "executions": "BatchGetItem Query",
        "executions/by_day": "Query",
        "executions/by_service": "Query",
        "executions/late": "Query",
    },
    "list_jobs": {
        "jobs": "BatchGetItem",
        "jobs/by_guid": "Query",
        "jobs/by_schedule": "Query",
        "jobs/catalog": "Query",
    },
    "list_limits": {"limits": "Query"},
    "list_schedules": {"schedules": "Query"},
    "list_webhook_secrets": {"services": "GetItem"},
    "manage_job": {"jobs": "GetItem UpdateItem", "schedules": "DeleteItem GetItem UpdateItem"},
    "notify_service": {
        "executions": "GetItem PutItem UpdateItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
        "schedules": "GetItem",
        "services": "GetItem",
    },
    "pause_failing_job": {"jobs": "GetItem UpdateItem", "schedules": "DeleteItem GetItem UpdateItem"},
    "pause_job": {"jobs": "GetItem UpdateItem", "schedules": "DeleteItem GetItem UpdateItem"},
    "put_job": {"jobs": "GetItem"},
    "put_limit": {"limits": "GetItem Query UpdateItem"},
    "put_schedule": {"schedules": "GetItem Query"},
    "reap_executions": {
        "executions": "DeleteItem GetItem UpdateItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "jobs/untold": "Query",
        "limits": "GetItem UpdateItem",
    },
    "receive_callback": {
        "executions": "GetItem UpdateItem",
        "jobs": "GetItem UpdateItem",
        "limits": "UpdateItem",
    },
    "reconcile_schedules": {
        "executions": "BatchGetItem",
        "jobs": "GetItem UpdateItem",
        "jobs/due": "Query",
        "schedules": "DeleteItem GetItem Query UpdateItem",
    },
    "release_schedule": {"schedules": "DeleteItem GetItem"},
    "rerun_execution": {
        "executions": "GetItem PutItem UpdateItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "rerun_executions": {
        "executions": "BatchGetItem GetItem PutItem Query UpdateItem",
        "executions/by_day": "Query",
        "executions/by_service": "Query",
        "executions/late": "Query",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "resume_job": {"jobs": "GetItem UpdateItem", "schedules": "DeleteItem GetItem UpdateItem"},
    "run_execution": {
        "executions": "GetItem PutItem UpdateItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
        "schedules": "GetItem",
        "services": "GetItem",
    },
    "save_job": {"jobs": "GetItem UpdateItem", "schedules": "UpdateItem"},
    "start_children": {"executions": "GetItem UpdateItem", "jobs": "GetItem UpdateItem"},
    "start_due_executions": {
        "executions": "BatchGetItem",
        "jobs": "BatchGetItem",
        "jobs/due": "Query",
        "schedules": "GetItem UpdateItem",
    },
    "start_execution": {
        "executions": "GetItem PutItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "start_spread_executions": {"executions": "BatchGetItem"},
    "start_waiting_executions": {
        "executions": "DeleteItem GetItem PutItem Query UpdateItem",
        "executions/open": "Query",
        "executions/sweep": "Query",
        "jobs": "GetItem UpdateItem",
        "limits": "GetItem UpdateItem",
    },
    "test_job": {"jobs": "GetItem", "services": "GetItem"},
    "test_target": {"services": "GetItem"},
    "validate_job": {"limits": "GetItem"},
}


@pytest.mark.parametrize("function", OF_THE_STAGE)
def test_a_function_may_take_exactly_these_actions_on_each_table(function: str) -> None:
    allowed: dict[str, set[str]] = {}
    for statement in OF_THE_STAGE[function]:
        names = {action.removeprefix("dynamodb:") for action in actions(statement)}
        for table, index in re.findall(r"aws_dynamodb_table\.(\w+)\.arn(?:\}/index/(\w+))?", statement):
            allowed.setdefault("/".join(filter(None, (table, index))), set()).update(names)

    found = {place: " ".join(sorted(names)) for place, names in allowed.items()}
    assert found == ON_TABLES.get(function, {})


# The functions that may notify services or send to a queue. test_functions.py checks who may publish events.
SENDERS = {
    "local.notification_topic_arns": {"notify_service", "run_execution", "test_job"},
    "local.spread_queue_arn": {
        "notify_service",
        "rerun_execution",
        "rerun_executions",
        "run_execution",
        "start_due_executions",
        "start_execution",
        "start_spread_executions",
        "start_waiting_executions",
    },
    "module.tick_dead_letters.arn": {"start_due_executions"},
    "module.upkeep_dead_letters.arn": {
        "finish_execution",
        "pause_failing_job",
        "reap_executions",
        "reconcile_schedules",
        "start_children",
        "start_waiting_executions",
    },
}


@pytest.mark.parametrize("function", sorted(function_modules()))
def test_a_function_that_starts_executions_may_start_those_of_both_types(function: str) -> None:
    """A job may change its type at any time."""
    started = {
        resource
        for statement in OF_THE_STAGE[function]
        if "states:StartExecution" in actions(statement)
        for resource in resources(statement)
        if "run_job" in resource
    }

    assert started in (set(), {"local.run_job_arn", "local.run_job_express_arn"})


def test_only_these_functions_may_notify_services_or_keep_dead_letters() -> None:
    found: dict[str, set[str]] = {}
    for function, statements in OF_THE_STAGE.items():
        for statement in statements:
            if set(actions(statement)) & VIA.keys():
                for resource in resources(statement):
                    found.setdefault(resource, set()).add(function)

    del found["aws_sns_topic.events.arn"]
    assert found == SENDERS


def test_permissions_of_rules_have_no_condition_on_the_account() -> None:
    """EventBridge sends no source account, so such a condition would refuse every tick.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
    """
    permissions = [
        block for block in blocks("resource") if block.argument("principal") == '"events.amazonaws.com"'
    ]
    assert len(permissions) == 2
    for permission in permissions:
        assert permission.argument("source_arn")
        assert permission.argument("source_account") is None


SCHEDULE = "local.scheduler_schedule_arn"
# What each function may do with EventBridge Scheduler, beside ListSchedules, which takes no resource.
ON_SCHEDULES = {
    "delete_job": "Create Delete Get Update",
    "list_schedules": "Get",
    "manage_job": "Create Delete Get Update",
    "pause_failing_job": "Create Delete Get Update",
    "pause_job": "Create Delete Get Update",
    "put_schedule": "Create Get Update",
    "reconcile_schedules": "Create Delete Get Update",
    "release_schedule": "Create Delete Get Update",
    "resume_job": "Create Delete Get Update",
}


def test_functions_may_touch_only_the_stages_own_schedules_of_eventbridge_scheduler() -> None:
    found: dict[str, set[str]] = {}
    listing: set[str] = set()
    for function, statements in OF_THE_STAGE.items():
        for statement in statements:
            allowed = {action for action in actions(statement) if action.startswith("scheduler:")}
            if "scheduler:ListSchedules" in allowed:
                listing.add(function)
            elif allowed:
                assert resources(statement) == [SCHEDULE]
                names = {re.sub(r"scheduler:(\w+)Schedule", r"\1", action) for action in allowed}
                found.setdefault(function, set()).update(names)

    assert {function: " ".join(sorted(names)) for function, names in found.items()} == ON_SCHEDULES
    assert listing == {"reconcile_schedules"}


def test_one_role_may_be_passed_and_only_to_eventbridge_scheduler() -> None:
    passing = [text for _, text in STATEMENTS if "iam:PassRole" in actions(text)]

    (statement,) = passing
    assert actions(statement) == ["iam:PassRole"]
    assert resources(statement) == ["aws_iam_role.scheduler.arn"]
    assert conditions(statement) == (
        'condition { test = "StringEquals" variable = "iam:PassedToService"'
        ' values = ["scheduler.amazonaws.com"] }'
    )


def test_the_role_of_eventbridge_scheduler_does_nothing_but_deliver_ticks() -> None:
    """AWS refuses to assume a role whose aws:SourceArn names schedules: it must be their group.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    """
    by_label = {document.labels[1]: document for document in DOCUMENTS if document.file.parent == TERRAFORM}
    sources = re.findall(r"aws_iam_policy_document\.(\w+)\.json", by_label["scheduler"].body)
    statements = [text for label in ["scheduler", *sources] for text in by_label[label].inner("statement")]
    allowed = {action: resources(text) for text in statements for action in actions(text)}
    (trust,) = by_label["assume_scheduler"].inner("statement")

    assert allowed == {
        "lambda:InvokeFunction": ["local.start_due_arn"],
        "sqs:SendMessage": ["module.tick_dead_letters.arn"],
        "kms:Decrypt": ["aws_kms_key.stage.arn"],
        "kms:GenerateDataKey*": ["aws_kms_key.stage.arn"],
    }
    assert '"scheduler.amazonaws.com"' in trust
    assert re.findall(r'variable = "(.*)"\n +values += \[(.*)\]', trust) == [
        ("aws:SourceAccount", "local.account_id"),
        ("aws:SourceArn", '"arn:${local.partition}:scheduler:${local.place}:schedule-group/default"'),
    ]


def test_functions_invoke_only_functions_that_keep_failed_invocations() -> None:
    """Nobody sees errors of asynchronous invocations. test_redrive.py tests the messages that are kept."""
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

    assert invoked == {
        "[local.pause_failing_job_arn]",
        "[local.start_children_arn]",
        "[local.start_due_arn]",
        "[local.start_waiting_arn]",
        "concat(values(var.functions),values(var.former_functions))",
    }
    assert "module.pause_failing_job.function_name" in kept
    assert "module.start_children.function_name" in kept
    assert "module.start_due_executions.function_name" in kept
    assert "module.start_waiting_executions.function_name" in kept


def test_every_subscription_has_a_dead_letter_queue() -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    subscriptions = [b for b in blocks("resource") if b.labels[0] == "aws_sns_topic_subscription"]

    assert [b.name for b in subscriptions if "redrive_policy" not in b.body] == []
