"""``sjm doctor``: every check, ok and not, against a manager on this machine and AWS's own answers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

import sjm as package
from sjm.doctor import examine, judgement
from sjm.doctor.account_facts import AccountFacts, Caller
from sjm.doctor.findings import Finding, Unknown
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.small_stage import SmallStage, page
from tests.unit.sjm.stand_in import REGION, Received, Reply, serving

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NO_STAGE = Unknown("needs --stage, besides --url")


class Stage(SmallStage):
    """A manager whose lists and whose version are given."""

    def __init__(self) -> None:
        super().__init__()
        self.executions: dict[str, list[dict[str, Any]]] = {}
        self.schedules: list[dict[str, Any]] = []
        self.endless = False
        self.rule_count = 0
        self.schedule_limit = 300
        self.version = "1.2.3"

    def answer(self, received: Received) -> Reply:
        path = received.path.removeprefix("/apis/a1")
        if path == "/openapi.json":
            return Reply(200, {"openapi": "3.1.0", "info": {"title": "jobs", "version": self.version}})
        if path in self.forbidden or path not in ("/schedules", "/executions"):
            return super().answer(received)
        number = len(self.received)
        paging = {"more": f"m{number}"} if self.endless else {}
        if path == "/schedules":
            counts = {"rule_count": self.rule_count, "schedule_limit": self.schedule_limit}
            return Reply(200, {"results": self.schedules, "paging": paging, **counts})
        found = self.executions.get(dict(received.query)["status"], [])
        return Reply(200, {"results": found, "paging": paging}) if self.endless else page(found)


@pytest.fixture
def server() -> Iterator[Stage]:
    with serving(Stage()) as stage:
        yield stage


def schedule(
    text: str, rule: str = "in step", count: int = 1, times: Any = ("2026-11-30T02:00:00Z",)
) -> dict[str, Any]:
    return {
        "schedule_key": text,
        "schedule": text,
        "time_zone": "UTC",
        "trigger_type": "rule",
        "job_count": count,
        "rule": rule,
        "next_fire_times": times and list(times),
    }


def examined(server: Stage, account: AccountFacts | Unknown = NO_STAGE) -> dict[str, Finding]:
    return {each.check: each for each in examine(server.manager(), account, "1.2.0", NOW)}


def test_a_sound_stage_is_ok(server: Stage) -> None:
    server.schedules = [schedule("cron(0 2 * * ? *)"), schedule("rate(1 hour)", times=None)]
    found = examined(server)

    assert {check for check, each in found.items() if each.state == "ok"} == {
        "API",
        "signed calls",
        "version",
        "rules in step",
        "schedules that never fire",
        "room for schedules",
        "failed executions",
        "overdue executions",
    }
    assert {each.detail for each in found.values() if each.state == "not looked at"} == {NO_STAGE.why}


def test_faults_that_the_api_shows_are_found(server: Stage) -> None:
    server.schedules = [
        schedule("cron(0 2 * * ? *)", "missing", 12),
        schedule("cron(0 3 * * ? *)", "disabled", 3),
        schedule("cron(0 0 31 2 ? *)", count=2, times=[]),
        *[schedule(f"cron({minute} {hour} * * ? *)") for hour in range(5) for minute in range(60)],
    ]
    nightly = {"service_name": "billing", "job_name": "nightly", "execution_id": "e1", "status": "fail"}
    running = {**nightly, "status": "running"}
    server.executions = {
        "fail,timeout": [nightly, nightly, {**nightly, "fault": "manager", "error": "Runtime.ExitError"}],
        "running": [
            {**running, "lock_expires_at": "2026-11-29T11:50:00Z"},
            {**running, "lock_expires_at": "2026-11-29T11:58:00Z"},
            {**running, "lock_expires_at": "2026-11-29T11:50:00Z", "next_attempt_at": "2026-11-29T12:30:00Z"},
            running,
            {**nightly, "lock_expires_at": "2026-11-29T11:50:00Z"},
        ],
    }
    found = examined(server)

    rules = found["rules in step"]
    assert (rules.state, rules.advice[0]) == ("wrong", "sjm schedules reconcile")
    assert rules.detail == (
        "2 of 303 schedules, with 15 jobs, do not fire as they should: cron(0 2 * * ? *) is missing,"
        " cron(0 3 * * ? *) is disabled"
    )
    never = found["schedules that never fire"]
    assert (never.state, never.detail) == ("warning", "1 schedule: cron(0 0 31 2 ? *) with 2 jobs")
    failed = found["failed executions"]
    assert failed.state == "wrong"
    assert failed.detail == (
        "3 executions of 1 job in 24 hours: billing/nightly 3. The manager is at fault for 1:"
        " Runtime.ExitError 1"
    )
    assert found["overdue executions"].state == "wrong"
    assert found["overdue executions"].detail == (
        "1 execution should have ended more than 5 minutes ago: billing/nightly e1"
    )


@pytest.mark.parametrize(
    ("count", "limit", "state"),
    [(0, 300, "ok"), (239, 300, "ok"), (240, 300, "warning"), (300, 300, "wrong"), (301, 300, "wrong")],
)
def test_the_room_for_schedules_is_as_the_stage_tells(
    server: Stage, count: int, limit: int, state: str
) -> None:
    server.rule_count, server.schedule_limit = count, limit
    found = examined(server)["room for schedules"]

    assert (found.state, found.detail) == (state, f"{count} of {limit}")
    assert bool(found.advice) == (state != "ok")


def test_requests_are_bounded_for_the_largest_stage(server: Stage) -> None:
    server.endless = True
    server.schedules = [schedule(f"cron({minute} 2 * * ? *)") for minute in range(60)]
    server.rule_count, server.schedule_limit = 1900, 2000
    found = examined(server)

    assert len(server.received) == 1 + 20 + 3 + 3
    assert found["rules in step"].detail == "at least 1,200 schedules"
    assert found["room for schedules"].detail == "1,900 of 2,000"
    assert found["rules without jobs"].state == "not looked at"


def test_an_api_that_refuses_or_is_gone_is_a_finding(server: Stage) -> None:
    server.forbidden = {"/schedules", "/executions"}
    found = examined(server)

    assert found["API"].state == "ok"
    assert found["signed calls"].detail == "needs execute-api:Invoke on GET /schedules"
    assert found["failed executions"].detail == "needs execute-api:Invoke on GET /executions"
    with serving(Stage()) as gone:
        pass
    assert examined(gone)["API"].state == "wrong"
    nowhere = {each.check: each for each in examine(gone.manager(url=None), NO_STAGE, "1.2.0", NOW)}
    assert nowhere["API"].state == "wrong"
    assert nowhere["rules in step"].detail == "the address of the API is not known"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[AccountFacts]:
    """An account with a stage sjm-dev, by moto."""
    from botocore.session import Session

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with mock_aws():
        yield AccountFacts(Session(), REGION, "sjm-dev")


def client(service: str) -> Any:
    made: Any = boto3.client
    return made(service, region_name=REGION)


def test_faults_of_the_account_are_found(server: Stage, account: AccountFacts) -> None:
    queue = client("sqs").create_queue(QueueName="sjm-dev-tick-dead-letters")["QueueUrl"]
    client("sqs").create_queue(QueueName="sjm-dev-upkeep-dead-letters")
    client("sqs").create_queue(QueueName="sjm-devel-tick-dead-letters")
    client("sqs").send_message(QueueUrl=queue, MessageBody="a tick")
    topic = client("sns").create_topic(Name="sjm-dev-alarms")["TopicArn"]
    for name in ("tick-dead-letters", "reaped"):
        client("cloudwatch").put_metric_alarm(
            AlarmName=f"sjm-dev-{name}",
            MetricName="m",
            Namespace="n",
            Period=300,
            EvaluationPeriods=1,
            Threshold=1,
            Statistic="Sum",
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[topic],
        )
    client("cloudwatch").set_alarm_state(
        AlarmName="sjm-dev-tick-dead-letters", StateValue="ALARM", StateReason="1 message"
    )
    for digest, expression in (("aaaa", "cron(0 2 * * ? *)"), ("bbbb", "cron(0 3 * * ? *)")):
        client("events").put_rule(Name=f"sjm-dev-schedule-{digest}", ScheduleExpression=expression)
    server.schedules = [schedule("cron(0 2 * * ? *)")]
    found = examined(server, account)

    letters = found["dead letters"]
    assert (letters.state, letters.detail) == ("wrong", "sjm-dev-tick-dead-letters: 1 message")
    assert list(letters.advice) == [
        "make redrive STAGE=dev ARGS=--dry-run",
        "make redrive STAGE=dev",
        "docs/operate.md#tick-dead-letters",
    ]
    assert found["alarms"].state == "wrong"
    assert found["alarms"].detail == "raised: sjm-dev-tick-dead-letters (1 message)"
    assert list(found["alarms"].advice) == ["docs/operate.md#tick-dead-letters"]
    assert found["subscribers of alarms"].state == "warning"
    orphans = found["rules without jobs"]
    assert (orphans.state, orphans.detail) == (
        "warning",
        "1 rule of a schedule that no job has: sjm-dev-schedule-bbbb (cron(0 3 * * ? *))",
    )


def test_an_account_without_the_stage_says_so(server: Stage, account: AccountFacts) -> None:
    found = examined(server, account)

    assert found["dead letters"].state == found["alarms"].state == "warning"
    assert "Check --stage" in found["alarms"].advice[0]


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        (timedelta(0), "ok"),
        (timedelta(seconds=-70), "warning"),
        (timedelta(minutes=6), "wrong"),
        (None, "not looked at"),
    ],
)
def test_the_clock_is_compared(ahead: timedelta | None, state: str) -> None:
    assert judgement.clock(Caller("arn", ahead)).state == state


def test_a_version_that_differs_in_the_second_number_is_a_warning() -> None:
    assert judgement.version("1.2.3", "1.2.0").state == "ok"
    assert judgement.version("1.2.3", "1.1.0").state == "warning"
    assert judgement.version("1.2.3", "unknown").state == "not looked at"


def test_a_new_account_runs_few_functions_and_full_modules_have_their_own_page() -> None:
    assert (judgement.concurrency(10).state, judgement.concurrency(1000).state) == ("warning", "ok")
    of_module = judgement.dead_letters({"sjm-dev-event-archive-dead-letters": 2}, "sjm-dev")
    assert list(of_module.advice) == ["docs/operate.md#of-the-modules-beside-a-stage"]


def test_the_command_shows_findings_and_exits_by_the_worst(
    server: Stage, sjm: Sjm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "__version__", "1.2.9", raising=False)
    done = sjm("doctor")
    assert (done.code, done.err) == (0, "")
    assert f"ok      API: {server.url} answers\n" in done.out
    assert "-       alarms: not looked at: needs --stage, besides --url\n" in done.out
    assert "ok      version: the stage has 1.2.3, as this sjm\n" in done.out

    server.schedules = [schedule("cron(0 2 * * ? *)", "missing")]
    wrong = sjm("doctor")
    assert wrong.code == 1
    assert "WRONG   rules in step: 1 of 1 schedule, with 1 job, do not fire" in wrong.out
    assert "          → sjm schedules reconcile\n" in wrong.out
    documents = json.loads(sjm("doctor", "-o", "json").out)
    assert {"check", "state", "detail", "advice"} == set(documents[0])
    assert [each["state"] for each in documents].count("wrong") == 1
