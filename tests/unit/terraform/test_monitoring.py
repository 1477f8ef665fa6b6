"""The dashboard, the alarms and the saved queries use only metrics, fields and log groups that exist."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, cast, get_args

import pytest

from jobmanager.executions.metrics import (
    count_heartbeat,
    count_late,
    count_outcome,
    count_retry,
    count_waiting,
)
from jobmanager.executions.record import Execution
from jobmanager.runtime.function_metrics import Environment
from jobmanager.runtime.stage_metrics import StageMetric, count
from tests.unit.functions.examples import NOON_MS, lambda_context
from tests.unit.terraform.blocks import ROOT, TERRAFORM, Block, blocks, function_modules, local_map
from tests.unit.terraform.reach import reach_of
from tests.unit.terraform.saved_queries import QUERIES, SavedQuery

type Series = tuple[str, str, frozenset[str]]

OURS = "ServerlessJobManager"

# The metrics that AWS itself writes, with their dimensions. Only those that are used.
AWS_SERIES: dict[str, dict[str, list[set[str]]]] = {
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    "AWS/Lambda": {
        "AsyncEventAge": [{"FunctionName"}],
        "ConcurrentExecutions": [set(), {"FunctionName"}],
        "DestinationDeliveryFailures": [{"FunctionName"}],
        "Duration": [{"FunctionName"}],
        "Errors": [{"FunctionName"}],
        "Throttles": [{"FunctionName"}],
    },
    # https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
    "AWS/States": {
        "ExecutionThrottled": [{"StateMachineArn"}],
        "ExecutionsTimedOut": [{"StateMachineArn"}],
        "ExecutionsStarted": [{"StateMachineArn"}],
    },
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
    "AWS/ApiGateway": {
        "4xx": [{"ApiId"}],
        "5xx": [{"ApiId"}],
        "Count": [{"ApiId"}],
        "Latency": [{"ApiId"}],
    },
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible": [{"QueueName"}]},
    # https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
    "AWS/SNS": {"NumberOfMessagesPublished": [{"TopicName"}]},
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
    "AWS/DynamoDB": {
        "ConsumedReadCapacityUnits": [{"TableName"}],
        "ConsumedWriteCapacityUnits": [{"TableName"}],
    },
}
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
LONGEST_DESCRIPTION = 1024
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
MOST_LOG_GROUPS = 50


def text(name: str) -> str:
    return (TERRAFORM / name).read_text()


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[Series]:
    """The metrics that the functions write. The fixture writes all of them."""
    monkeypatch.setenv("STAGE", "test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", OURS)
    for switch in ("METRICS_BY_STAGE", "METRICS_BY_SERVICE", "METRICS_BY_FUNCTION"):
        monkeypatch.setenv(switch, "true")
    monkeypatch.setenv("METRICS_BY_JOB", "false")
    monkeypatch.setenv("MEMORY_ALARM_PCT", "1")
    ended: dict[str, Any] = {
        "service_name": "billing",
        "job_name": "nightly",
        "scheduled_time_ms": NOON_MS,
        "service_invoked_at_ms": NOON_MS,
        "finished_at_ms": NOON_MS,
        "ttl_seconds": 60,
        "error": '"Manager.NoOutcome"',
        "cause": "",
        "fault": "manager",
        "reason": {"code": "lock_held", "detail": ""},
    }
    for name in get_args(StageMetric.__value__):
        count(name)
    for status in ("success", "fail", "timeout", "skipped", "cancelled"):
        count_outcome(cast(Execution, {**ended, "status": status}))
    waited = {"waiting_since_ms": NOON_MS, "started_at_ms": NOON_MS}
    count_outcome(cast(Execution, {**ended, **waited, "status": "success"}))
    for count_running in (count_heartbeat, count_late, count_waiting):
        count_running(cast(Execution, {**ended, "status": "running"}))
    count_retry(cast(Execution, {**ended, "status": "running", "attempts": [{}]}))
    Environment().emit_metrics(lambda_context())
    return {
        (directive["Namespace"], metric["Name"], frozenset(dimensions))
        for line in map(json.loads, capsys.readouterr().out.splitlines())
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for dimensions in directive["Dimensions"]
    }


def namespace(written: str) -> str:
    return OURS if written == "local.metrics_namespace" else written.strip('"')


def on_the_dashboard() -> Iterator[Series]:
    body = text("dashboard.tf")
    listed = re.findall(
        r'\[("AWS/\w+"|local\.metrics_namespace), "(\w+)"((?:, (?!\{)[^,\]]+)*)(?:, \{[^}]*\})?\]', body
    )
    for space, metric, rest in listed:
        dimensions = [part.strip().strip('"') for part in rest.split(",") if part.strip()]
        assert len(dimensions) % 2 == 0, (metric, dimensions)
        yield namespace(space), metric, frozenset(dimensions[::2])
    searched = re.findall(
        r"SEARCH\('\{\$\{local\.metrics_namespace\},([\w,]+)\} MetricName=\\\"(\w+)\\\"", body
    )
    for dimensions, metric in searched:
        yield OURS, metric, frozenset(dimensions.split(","))
    assert len(listed) + len(searched) == len(
        re.findall(r"SEARCH\(|\[\"AWS/|\[local\.metrics_namespace", body)
    )


def alarms() -> dict[str, str]:
    """The Terraform text of each alarm on a single metric, by name."""
    body = local_map("alarms", _with_braces(blocks("locals", under=TERRAFORM, deep=False)))
    found = re.findall(r"^ +(?:([a-z-]+) = \{|for key, queue in .* => \{)\n(.*?)^ +\}$", body, re.M | re.S)
    return {name or "dead-letters": alarm for name, alarm in found}


def _with_braces(found: list[Block]) -> str:
    """The locals of alarms.tf with `alarms = {…}` in place of `alarms = merge(…)`, for local_map."""
    (block,) = (b for b in found if b.file.name == "alarms.tf")
    return block.body.replace("  alarms = merge(\n", "  alarms = {\n").replace("\n  )", "\n  }")


def field(alarm: str, name: str) -> str:
    match = re.search(rf"^ +{name} += (.*)$", alarm, re.M)
    assert match, f"{name} is missing in:\n{alarm}"
    return match[1]


def on_alarms() -> Iterator[Series]:
    for alarm in alarms().values():
        dimensions = re.findall(r"(\w+) = ", field(alarm, "dimensions"))
        yield namespace(field(alarm, "namespace")), field(alarm, "metric").strip('"'), frozenset(dimensions)


def exists(series: Series, emitted: set[Series]) -> bool:
    space, metric, dimensions = series
    return series in emitted or set(dimensions) in AWS_SERIES.get(space, {}).get(metric, [])


def test_the_dashboard_shows_only_metrics_that_exist(emitted: set[Series]) -> None:
    shown = list(on_the_dashboard())
    assert len(shown) > 30
    assert [series for series in shown if not exists(series, emitted)] == []


def test_alarms_watch_only_metrics_that_exist(emitted: set[Series]) -> None:
    watched = list(on_alarms())
    assert len(watched) >= 12
    assert [series for series in watched if not exists(series, emitted)] == []


def test_every_metric_is_on_the_dashboard_or_on_an_alarm(emitted: set[Series]) -> None:
    used = {metric for _, metric, _ in [*on_the_dashboard(), *on_alarms()]}
    assert {metric for _, metric, _ in emitted} <= used


def test_the_list_of_aws_metrics_has_only_used_ones() -> None:
    used = {(space, metric) for space, metric, _ in [*on_the_dashboard(), *on_alarms()]}
    assert {(space, metric) for space, metrics in AWS_SERIES.items() for metric in metrics} <= used


def test_functions_write_to_the_namespace_that_the_dashboard_reads() -> None:
    assert f'metrics_namespace = "{OURS}"' in text("locals.tf")
    assert "POWERTOOLS_METRICS_NAMESPACE = var.defaults.metrics_namespace" in text("modules/function/main.tf")


def test_an_alarms_description_is_long_enough_to_help_and_fits_cloudwatch() -> None:
    for description in [field(alarm, "description") for alarm in alarms().values()]:
        assert len(description.split()) >= 15, description
        assert len(description) < LONGEST_DESCRIPTION - 200  # leaves room for the names that are filled in
        for name in re.findall(r"saved query '([^']+)'", description):
            assert name in QUERIES


def test_every_threshold_is_used_once_and_has_a_default_unless_its_alarm_is_optional() -> None:
    (variable,) = (b for b in blocks("variable", deep=False) if b.labels == ("alarm_thresholds",))
    defined = re.findall(r"^    (\w+) += optional\(number, \d+\)$", variable.body, re.M)
    optional = re.findall(r"^    (\w+) += optional\(number\)$", variable.body, re.M)
    used = re.findall(r"var\.alarm_thresholds\.(\w+)", text("alarms.tf"))
    assert optional == ["late_executions"]
    assert sorted(used) == sorted(defined + optional)


def test_an_express_machine_that_ran_out_of_time_raises_an_alarm() -> None:
    """Before it has begun its execution, nothing else tells."""
    alarm = alarms()["timed-out-executions"]
    assert field(alarm, "metric") == '"ExecutionsTimedOut"'
    assert field(alarm, "dimensions") == "{ StateMachineArn = local.run_job_express_arn }"


def test_every_alarm_also_notifies_the_topic_when_it_ends() -> None:
    found = [b for b in blocks("resource", deep=False) if b.labels[0] == "aws_cloudwatch_metric_alarm"]
    (alarm,) = found
    assert alarm.argument("alarm_actions") == alarm.argument("ok_actions") == "[aws_sns_topic.alarms.arn]"
    assert alarm.argument("treat_missing_data") == '"notBreaching"'


def test_every_dead_letter_queue_has_an_alarm_and_an_output_for_redrive() -> None:
    """The alarms and the dashboard read the map dead_letter_queues, and make redrive reads the outputs."""
    modules = blocks("module", under=TERRAFORM, deep=False)
    queues = {b.labels[0] for b in modules if b.argument("source") == '"./modules/dead_letter_queue"'}
    watched = re.findall(r"module\.(\w+)\.name", local_map("dead_letter_queues", _locals_of("alarms.tf")))
    made = {b.file.parent.name for b in blocks("resource") if b.labels[0] == "aws_sqs_queue"}
    # tests/unit/terraform/test_event_forks.py
    of_forks = {"alert_route", "event_archive", "event_replay", "subscription"}
    own = {"terraform"}  # of spread.tf, whose dead letters go to those of ticks
    assert made == {"dead_letter_queue", *of_forks, *own}
    assert queues
    outputs = {b.labels[0] for b in blocks("output", under=TERRAFORM, deep=False)}
    assert queues == set(watched)
    assert {f"{queue.removesuffix('s')}_queue_url" for queue in queues} <= outputs


# --- the saved queries -----------------------------------------------------------------------------------

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html
OF_CLOUDWATCH = {"@timestamp", "@message", "@logStream", "@log"}
OF_LAMBDA = {"@type", "@duration", "@initDuration", "@maxMemoryUsed", "@memorySize", "@requestId"}
# https://docs.aws.amazon.com/powertools/python/latest/core/logger/#standard-structured-keys
OF_POWERTOOLS = {"level", "location", "message", "timestamp", "service", "xray_trace_id", "exception"}
# jobmanager.runtime.step adds these to each line.
OF_STEPS = {"correlation_id", "function_request_id", "cold_start"}
OF_EVENTS = {"service_name", "job_name", "execution_id", "schedule"}


def _locals_of(file: str) -> str:
    (block,) = (b for b in blocks("locals", under=TERRAFORM, deep=False) if b.file.name == file)
    return block.body


each_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)


def logged_by_code() -> set[str]:
    """The names in every ``extra={…}`` of the functions."""
    names: set[str] = set()
    for path in (ROOT / "functions").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "extra":
                assert isinstance(node.value, ast.Dict)
                names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]
    return names


def logged_by_the_api() -> set[str]:
    (format_,) = re.findall(r"format = jsonencode\(\{\n(.*?)\}\)", text("api.tf"), re.S)
    return set(re.findall(r"^ +(\w+) += ", format_, re.M))


def test_all_eight_saved_queries_are_parsed() -> None:
    assert len(QUERIES) == text("queries.tf").count("EOT\n") // 2 == 8


@each_query
def test_a_query_uses_only_fields_that_exist(query: SavedQuery) -> None:
    """test_logs.py shows most of these fields on the stage."""
    there = OF_CLOUDWATCH | (
        logged_by_the_api()
        if "aws_cloudwatch_log_group.api" in query.log_groups
        else OF_LAMBDA | OF_POWERTOOLS | OF_STEPS | OF_EVENTS | logged_by_code()
    )
    assert query.fields <= there


@each_query
def test_a_query_has_balanced_brackets_and_known_commands(query: SavedQuery) -> None:
    text = re.sub(r"/.*?/", "", query.text.strip())
    commands = [line.split()[0] for line in re.split(r"\n? *\| *|\n", text) if line]
    assert set(commands) <= {"filter", "fields", "stats", "sort", "limit"}
    assert query.text.count("(") == query.text.count(")")
    assert query.text.count("[") == query.text.count("]")
    assert query.text.count('"') % 2 == 0


@each_query
def test_a_query_filters_by_messages_that_the_code_logs(query: SavedQuery) -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "functions").rglob("*.py"))
    for message in query.messages:
        assert re.search(rf'logger\.\w+\(\s*"{message}"', code), message


@each_query
def test_a_query_reads_log_groups_of_the_stage_and_not_too_many(query: SavedQuery) -> None:
    some = r"\[(module\.\w+\.log_group_name(, )?)+\]|\[aws_cloudwatch_log_group\.api\.name\]"
    assert re.fullmatch(rf"local\.function_log_groups|{some}", query.log_groups)
    assert all(
        function in function_modules() for function in re.findall(r"module\.(\w+)\.", query.log_groups)
    )
    assert len(function_modules()) <= MOST_LOG_GROUPS


def test_the_query_what_failed_searches_the_functions_that_end_failed_executions() -> None:
    """Except those that only end executions as cancelled."""
    finishing = {
        name for name in function_modules() if reach_of(name).calls("executions/settle.py", "settle")
    }
    asked = set(re.findall(r"module\.(\w+)\.", QUERIES["what failed"].log_groups))
    assert asked == finishing - {"cancel_execution", "cancel_executions"}


def test_only_the_local_stage_has_no_saved_queries() -> None:
    for environment in ("dev", "prod"):
        assert "saved_queries" not in text(f"environments/{environment}/main.tf")
    assert re.search(r"saved_queries += false", text("environments/local/main.tf"))


# --- permissions -----------------------------------------------------------------------------------------


def test_alarms_may_publish_and_encrypt() -> None:
    """Without permission for the key, CloudWatch cannot publish to an encrypted topic.

    https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    """
    documents = {
        b.labels[1]: b for b in blocks("data", deep=False) if b.labels[0] == "aws_iam_policy_document"
    }
    publishing = documents["alarms_topic"].inner("statement")[0]
    (encrypting,) = (s for s in documents["key"].inner("statement") if "cloudwatch.amazonaws.com" in s)
    assert '"cloudwatch.amazonaws.com"' in publishing
    assert "${local.place}:alarm:*" in publishing
    assert '["kms:Decrypt", "kms:GenerateDataKey*"]' in encrypting
    (topic,) = (b for b in blocks("resource", deep=False) if b.labels == ("aws_sns_topic", "alarms"))
    assert topic.argument("kms_master_key_id") == "aws_kms_key.stage.arn"
