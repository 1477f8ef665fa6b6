"""The review of the jobs as code in real plans of terraform/jobs_as_code.tf."""

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sjm.review.neighbours import SchedulesInUse
from tests.unit.sjm.small_stage import SmallStage
from tests.unit.sjm.stand_in import CREDENTIALS, REGION, serving
from tools import review_plan
from tools.terraform_configuration import TERRAFORM

NOW_MS = int(datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()) * 1000
HTTP = {"invocation_type": "http", "invocation_target": "https://billing.example/jobs/x"}
DAILY = {**HTTP, "schedule": "cron(0 2 * * ? *)"}
BEFORE: dict[str, Any] = {
    "billing/same": DAILY,
    "billing/changed": {**DAILY, "ttl_seconds": 60},
    "billing/gone": {**DAILY, "schedule": "rate(60 minutes)"},
}
AFTER: dict[str, Any] = {
    "billing/same": DAILY,
    "billing/changed": {**DAILY, "schedule": "cron(0 2 ? * MON-FRI *)"},
    "billing/new": {**DAILY, "retry": {"max_attempts": "2"}},
    "billing/wrong": {**DAILY, "schedule": "cron(0 2 * * *)"},
}
ROOT = """
variable "jobs" { type = any }

variable "secret" {
  type      = string
  default   = "hidden"
  sensitive = true
}

variable "path" { type = string }

resource "terraform_data" "topic" { input = "arn:aws:sns:eu-central-1:123456789012:own" }

module "stage" {
  source = "./stage"

  jobs = merge(var.jobs, {
    "billing/late" = {
      schedule          = "rate(1 hour)"
      invocation_type   = "sns"
      invocation_target = terraform_data.topic.id
    }
    "billing/secret" = { schedule = "rate(1 hour)", invocation_type = "sns", payload = var.secret }
  })
  command_environment = { PATH = var.path }
}
"""
STUBS = """
variable "jobs" { type = any }

variable "jobs_managed_in" {
  type    = string
  default = null
}

variable "command_environment" { type = map(string) }

locals {
  prefix = "sjm-dev"
  region = "eu-central-1"
}

module "manage_job" { source = "./manage_job" }
"""


def terraform(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["terraform", *arguments],
        cwd=directory,
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The first plan of a stage, and one that changes its jobs."""
    root = tmp_path_factory.mktemp("plan")
    stage = root / "stage"
    shutil.copytree(
        TERRAFORM / "modules", stage / "modules", ignore=shutil.ignore_patterns("tests", ".terraform*")
    )
    as_code = (TERRAFORM / "jobs_as_code.tf").read_text()
    # What the jobs wait for is of the provider of AWS.
    (stage / "jobs_as_code.tf").write_text(
        re.sub(r"\n  depends_on = \[.*?\n  \]\n", "\n", as_code, flags=re.DOTALL)
    )
    (stage / "stubs.tf").write_text(STUBS)
    (stage / "manage_job").mkdir()
    (stage / "manage_job" / "main.tf").write_text('output "function_name" { value = "manage-job" }\n')
    (root / "main.tf").write_text(ROOT)
    commands = root / "bin"
    commands.mkdir()
    (commands / "python3").write_text("#!/bin/sh\n")  # puts no job
    (commands / "python3").chmod(0o755)
    terraform(root, "init", "-input=false")
    found = {}
    for name, jobs in (("first", BEFORE), ("second", AFTER)):
        values = {"jobs": jobs, "path": f"{commands}:/usr/bin:/bin", "secret": f"secret of the {name}"}
        (root / "given.auto.tfvars.json").write_text(json.dumps(values))
        terraform(root, "plan", "-input=false", "-out=planned")
        found[name] = json.loads(terraform(root, "show", "-json", "planned"))
        terraform(root, "apply", "planned")
    return found


def text(plan: Any, in_use: SchedulesInUse | None = None) -> list[str]:
    return [line.text for line in review_plan.lines_of_plan(plan, in_use, NOW_MS)]


def test_the_first_plan_of_a_stage_needs_no_api(plans: dict[str, Any]) -> None:
    shown = text(plans["first"])

    assert review_plan.schedules_of_stage(plans["first"]) is None
    assert "+ billing/changed is new" in shown
    assert '    schedule: none → "rate(1 hour)"' in shown  # canonical
    assert "    beside: 1 other job in the minute of 2026-11-30 02:00 UTC, and perhaps 2 more" in shown
    assert "~ billing/late is known only after apply" in shown
    assert "Only the jobs of this plan are counted as neighbours." in shown
    assert shown[-1].startswith("Jobs: 4 to create. In all about +$0.1")


def test_a_plan_shows_what_changes_and_what_the_api_would_refuse(plans: dict[str, Any]) -> None:
    shown = text(plans["second"])
    changed = shown.index("~ billing/changed changes")

    assert shown[changed + 1] == '    schedule: "cron(0 2 * * ? *)" → "cron(0 2 ? * MON-FRI *)"'
    assert shown[changed + 2] == "    ttl_seconds: 60 → 300 (not in the file: back to its default)"
    assert "[none on Sat, Sun] Mon 2026-12-07 02:00" in shown[changed + 3]
    assert "- billing/gone is deleted" in shown
    assert "+ billing/new is new" in shown
    assert not any("billing/same" in line for line in shown)
    assert any(
        line.startswith("    the API will refuse this job: /schedule: cron(0 2 * * *): expected 6 fields")
        for line in shown
    )
    assert "1 to delete, 1 as wanted" not in shown[-1] and "1 to delete, 2 as wanted" in shown[-1]


def test_what_is_sensitive_is_not_shown(plans: dict[str, Any]) -> None:
    for name in ("first", "second"):
        shown = text(plans[name])

        assert any(re.fullmatch(r"[+~] billing/secret (is new|changes)", line) for line in shown)
        assert "    note: its definition is sensitive, so what differs is not shown" in shown
        assert not any("secret of" in line for line in shown)


def test_a_plan_without_jobs_says_nothing() -> None:
    assert text({"resource_changes": []}) == []


def test_many_changes_are_bounded(plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_plan, "MAX_SHOWN", 1)

    assert "… and 4 more that change" in text(plans["second"])


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallStage]:
    """A stage that exists."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    monkeypatch.setenv("AWS_REGION", REGION)
    for name in ("_SECONDS_FOR_THE_API", "_SECONDS_FOR_AN_ANSWER"):
        monkeypatch.setattr(review_plan, name, 60)
    with serving(SmallStage()) as running:
        yield running


def of_stage(plan: Any, url: str) -> Any:
    """The plan of a stage with this address."""
    return {**plan, "prior_state": {"values": {"outputs": {"api_url": {"value": url}}}}}


def test_the_other_jobs_of_a_stage_that_exists_are_counted(plans: dict[str, Any], stage: SmallStage) -> None:
    stage.others = {"cron(0 2 * * ? *)": 50, "rate(1 hour)": 3}
    plan = of_stage(plans["second"], stage.url)
    shown = text(plan, review_plan.schedules_of_stage(plan))

    assert any("other jobs in the minute of 2026-11-30 02:00 UTC" in line and ": 5" in line for line in shown)
    assert "Only the jobs of this plan are counted as neighbours." not in shown


def test_a_stage_that_does_not_tell_does_no_harm(plans: dict[str, Any], stage: SmallStage) -> None:
    stage.forbidden = {"/schedules"}

    assert review_plan.schedules_of_stage(of_stage(plans["second"], stage.url)) is None
    assert len(stage.received) == 1
    assert review_plan.schedules_of_stage(of_stage(plans["second"], "http://127.0.0.1:1")) is None
    assert review_plan.schedules_of_stage(of_stage(plans["second"], "none")) is None


@pytest.mark.parametrize(
    "given", ["", "[]", "{", '{"resource_changes": [{"mode": "managed"}]}', '{"resource_changes": 1}']
)
def test_it_never_fails(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))

    assert review_plan.main() == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert (said.err == "") == (given == '{"resource_changes": [{"mode": "managed"}]}')


def test_the_command_prints_the_review(
    plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(plans["second"])))

    assert review_plan.main() == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("Jobs as code:\n")
    assert "\x1b" not in said.out
