"""The modules beside a stage: rules for each, and the columns of the archive's table."""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from functions.get_openapi.handler import openapi
from jobmanager.core.clock import ms_of_iso
from jobmanager.delivery.replay import SENDERS
from jobmanager.executions import events as execution_events
from jobmanager.executions import warning
from jobmanager.jobs import events as job_events
from jobmanager.jobs.definition import JobEvent
from local import terraform_provider
from tests.unit.terraform.blocks import (
    ENVIRONMENTS,
    ROOT,
    TERRAFORM,
    Block,
    blocks,
    fork_functions,
    local_map,
)
from tests.unit.terraform.reach import reach_of
from tests.unit.terraform.test_functions import TO_EVERY_FUNCTION
from tests.unit.terraform.test_policies import POLICIES, actions, sid

MODULES = TERRAFORM / "modules"
FORKS = ("alert_route", "event_archive", "event_replay", "event_search")
SHARED = ROOT / "functions" / "_shared" / "jobmanager"
QUERIES = sorted((MODULES / "event_search" / "queries").glob("*.sql"))
# Lambda itself uses these permissions of a function that it invokes from a queue.
READING_A_QUEUE = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}

each_fork = pytest.mark.parametrize("fork", FORKS)
each_function = pytest.mark.parametrize("module", fork_functions().values(), ids=fork_functions())


def text_of(module: str) -> str:
    return "\n".join(path.read_text() for path in sorted((MODULES / module).glob("*.tf")))


def resources(module: str, kind: str) -> list[Block]:
    return [b for b in blocks("resource", under=MODULES / module) if b.labels[0] == kind]


def columns() -> set[str]:
    (found,) = (b for b in blocks("locals", under=MODULES / "event_search") if "columns =" in b.body)
    return set(re.findall(r"^    (\w+) += ", local_map("columns", found.body), re.MULTILINE))


@each_fork
def test_each_alarm_of_a_fork_has_a_description_and_an_action(fork: str) -> None:
    alarms = resources(fork, "aws_cloudwatch_metric_alarm")

    assert alarms
    assert all(alarm.argument("alarm_description") for alarm in alarms)
    assert all(alarm.argument("alarm_actions") == "[var.alarms_topic_arn]" for alarm in alarms)


@each_fork
def test_the_readme_of_a_fork_explains_its_use_its_inputs_and_its_cost(fork: str) -> None:
    readme = (MODULES / fork / "README.md").read_text()
    block = re.search(r"```hcl\n(.*?)```", readme, re.DOTALL)
    variables = {b.labels[0] for b in blocks("variable", under=MODULES / fork)}
    required = {b.labels[0] for b in blocks("variable", under=MODULES / fork) if "default " not in b.body}

    assert block
    used = set(re.findall(r"^  (\w+) += ", block[1], re.MULTILINE)) - {"source"}
    assert required <= used <= variables
    assert "**Cost**" in readme
    assert all(f"`{name}`" in readme or name in used for name in variables)


@pytest.mark.parametrize("environment", sorted(set(ENVIRONMENTS) - {"local"}))
def test_a_stage_on_aws_offers_every_fork(environment: str) -> None:
    calls = (TERRAFORM / "environments" / environment / "event_forks.tf").read_text()
    sources = set(re.findall(r'source = "\.\./\.\./modules/(\w+)"', calls))
    used = set(re.findall(r"module\.stage\.(\w+)", calls))
    outputs = {b.labels[0] for b in blocks("output", under=TERRAFORM, deep=False)}

    assert sources == {*FORKS, "subscription"}
    assert used <= outputs


@pytest.mark.parametrize("fork", [*FORKS, "subscription"])
def test_queues_and_buckets_of_a_fork_are_encrypted(fork: str) -> None:
    for queue in resources(fork, "aws_sqs_queue"):
        assert queue.argument("kms_master_key_id") in ("local.kms_key_arn", "var.kms_key_arn")
    for bucket in resources(fork, "aws_s3_bucket"):
        assert 'sse_algorithm     = "aws:kms"' in bucket.body
        assert "kms_master_key_id = local.kms_key_arn" in bucket.body


def test_every_bucket_blocks_public_access_and_requires_tls() -> None:
    for fork in FORKS:
        for bucket in resources(fork, "aws_s3_bucket"):
            name = bucket.labels[1]
            (closed,) = (
                b for b in resources(fork, "aws_s3_bucket_public_access_block") if b.labels[1] == name
            )
            assert len(re.findall(r"= true$", closed.body, re.MULTILINE)) == 4
            assert [b.labels[1] for b in resources(fork, "aws_s3_bucket_policy")] == [name]
            assert "RefuseCallsWithoutTls" in text_of(fork)


def test_every_queue_has_a_policy_and_a_dead_letter_queue() -> None:
    """The module subscription sets the policies of the subscribed queue and of its dead-letter queue."""
    for fork in ("event_archive", "event_replay"):
        (queue,) = resources(fork, "aws_sqs_queue")
        (subscription,) = (b for b in blocks("module", under=MODULES / fork) if b.labels == ("subscription",))
        assert subscription.argument("queue") == "aws_sqs_queue.events"
        assert subscription.argument("require_tls") == "var.require_tls"
        assert "deadLetterTargetArn = module.subscription.dead_letter_queue_arn" in queue.body


@each_function
def test_a_function_gets_exactly_the_settings_that_its_code_reads(module: Block) -> None:
    given = set(re.findall(r"^ +([A-Z_]+) += ", module.body, re.MULTILINE))

    assert reach_of(module.labels[0]).settings | TO_EVERY_FUNCTION == given | TO_EVERY_FUNCTION


@each_function
def test_a_function_may_make_the_calls_of_its_code_and_those_of_lambda_for_it(module: Block) -> None:
    name = module.labels[0]
    statements = POLICIES[name]
    assert statements
    of_targets = re.search(r"  target_actions = \{\n(.*?)  \}", text_of("event_replay"), re.DOTALL)
    assert of_targets
    allowed = {action for text in statements if "local." not in actions_of(text) for action in actions(text)}
    if name == "replay_events":
        allowed |= set(re.findall(r'"(\w+:\w+)"', of_targets[1]))
        assert set(re.findall(r"^    (\w+) += ", of_targets[1], re.MULTILINE)) == {"none", *SENDERS}

    without_the_key = {action for action in allowed if not action.startswith("kms:")}
    assert without_the_key == reach_of(name).actions | READING_A_QUEUE


def actions_of(statement: str) -> str:
    match = re.search(r"^ +actions += (.*)$", statement, re.MULTILINE)
    assert match, sid(statement)
    return match[1]


def fields_of_literals(module: str) -> Iterator[str]:
    """The keys of each dictionary literal that has the key ``event``."""
    for node in ast.walk(ast.parse((SHARED / f"{module}.py").read_text())):
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if "event" in keys:
                yield from (key for key in keys if isinstance(key, str))


def fields_of_answers(module: Path) -> set[str]:
    """The fields of an answer, as docstrings list them: ``{schedule, rule, found, done}``."""
    return {
        field
        for listed in re.findall(r"``\{([a-z_, ]+)\}``", module.read_text())
        for field in listed.split(", ")
    }


def fields_of_the_document() -> set[str]:
    """The fields of all events in the OpenAPI document."""
    document = openapi("https://manager.example", "1.2.3")
    content = document["webhooks"]["event"]["post"]["requestBody"]["content"]["application/json"]
    schemas = document["components"]["schemas"]
    names = [each["$ref"].rpartition("/")[2] for each in content["schema"]["oneOf"]]
    return {field for name in names for field in schemas[name]["properties"]}


def test_the_columns_and_the_openapi_document_have_exactly_the_fields_that_the_code_publishes() -> None:
    fields = {
        *execution_events._PUBLISHED,
        *warning._PUBLISHED,
        "attempt",
        *job_events._PUBLISHED,
        *job_events._ALWAYS_PUBLISHED,
    }
    for module in ("executions/events", "jobs/events", "schedules/events", "executions/failure_streak"):
        fields |= set(fields_of_literals(module))
    outcome = (SHARED / "executions" / "published_outcome.py").read_text()
    fields |= set(re.findall(r'found\["(\w+)"\]', outcome))
    fields |= set(JobEvent.__annotations__) | fields_of_answers(SHARED / "schedules" / "events.py")
    fields.remove("orphans")  # job.orphaned is published for each of these jobs

    assert fields_of_the_document() == fields
    # The archive keeps a message that is not an event in the column message.
    assert columns() == fields | {"message"}


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_saved_query_is_one_select_over_existing_columns(path: Path) -> None:
    first, _, sql = path.read_text().replace("${table}", "database.events").partition("\n")
    (query,) = sqlglot.parse(sql, read="athena")
    assert isinstance(query, exp.Select)
    made = {alias.alias for alias in query.find_all(exp.Alias)}
    named = {column.name for column in query.find_all(exp.Column)}

    assert re.fullmatch(r"-- Which .*\.", first)
    assert named <= columns() | made | {"day"}
    assert query.args.get("limit")


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_saved_query_asks_for_percentiles_of_doubles(path: Path) -> None:
    """approx_percentile takes bigints, reals and doubles, but a division by 1000.0 gives a decimal."""
    (query,) = sqlglot.parse(path.read_text().replace("${table}", "database.events"), read="athena")
    assert query
    made = {alias.alias: alias.this for alias in query.find_all(exp.Alias)}
    asked = [found.this.name for found in query.find_all(exp.ApproxQuantile)]

    assert bool(asked) == ("approx_percentile" in path.read_text())
    for name in asked:
        doubles = [c for c in made[name].find_all(exp.Cast) if c.to.this == exp.DataType.Type.DOUBLE]
        assert doubles
        assert not [n for n in made[name].find_all(exp.Literal) if "." in n.name]


def test_a_replay_accepts_the_times_that_the_function_can_read() -> None:
    pattern = re.search(r'can\(regex\("(\^\[0-9\]\{4\}.*?)", moment\)\)', text_of("event_replay"))
    assert pattern
    wanted = re.compile(pattern[1].replace("\\\\", "\\"))
    for moment in ("2026-11-23T02:00:00Z", "2026-11-23T02:00:00.5Z"):
        assert wanted.search(moment)
        assert ms_of_iso(moment)
    assert not wanted.search("2026-11-23T02:00:00+01:00")
    assert not wanted.search("2026-11-23")


# The subscriptions that a team would add to the stage's folder: their ARNs too are known only after an apply.
BESIDE_THE_STAGE = """
resource "aws_sqs_queue" "of_the_team" {
  name = "of-the-team"
}

resource "aws_sqs_queue" "dead_letters_of_the_team" {
  name = "dead-letters-of-the-team"
}

module "to_a_queue" {
  source = "../../modules/subscription"

  name              = "to-a-queue"
  topic_arn         = module.stage.events_topic_arn
  queue             = aws_sqs_queue.of_the_team
  dead_letter_queue = aws_sqs_queue.dead_letters_of_the_team
}

module "with_an_alarm" {
  source = "../../modules/subscription"

  name         = "with-an-alarm"
  topic_arn    = module.stage.notifications_topic_arn
  mail_address = "team@example.com"
  kms_key_arn  = module.stage.function_defaults.kms_key_arn
  alarms_topic = { arn = module.stage.alarms_topic_arn }
}
"""
PLANNED = """
mock_provider "aws" {
  source = "../../tests/mocks"
}

run "planned_from_nothing" {
  command = plan

  assert {
    condition     = module.stage.prefix != ""
    error_message = "There must be a stage."
  }
}
"""


@pytest.mark.xdist_group("terraform_provider")
def test_all_forks_are_planned_with_their_stage_before_any_of_its_arns_is_known(tmp_path: Path) -> None:
    project = terraform_provider.LOCAL / "terraform-with-forks"
    shutil.rmtree(project, ignore_errors=True)
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tftest.hcl")
    shutil.copytree(TERRAFORM, project / "terraform", ignore=ignored)
    for definition in ROOT.glob("*.asl.json"):
        shutil.copy(definition, project)
    for handler in ROOT.glob("functions/*/handler.py"):
        (tmp_path / f"{handler.parent.name}.zip").touch()
    offered = (TERRAFORM / "environments" / "dev" / "event_forks.tf").read_text()
    root = project / "terraform" / "environments" / "planned"
    root.mkdir()
    stage = f'source = "../.."\n  stage = "planned"\n  packages_dir = "{tmp_path}"\n  runtime = "python3.8"'
    (root / "main.tf").write_text(f'module "stage" {{\n  {stage}\n}}\n{BESIDE_THE_STAGE}')
    forks = re.sub(r"^# ?(?=module|  |}|$)", "", offered, flags=re.MULTILINE)
    replay = '  source = "../../modules/event_replay"\n'
    assert replay in forks
    target = "  target = { arn = aws_sqs_queue.of_the_team.arn }\n"
    (root / "event_forks.tf").write_text(forks.replace(replay, replay + target))
    (root / "provider.tf").write_text(terraform_provider.LOCAL_PROVIDER)
    (root / "planned.tftest.hcl").write_text(PLANNED)

    with terraform_provider.initialised(root) as run:
        done = run("test", check=False)

    assert done.returncode == 0, done.stdout + done.stderr
