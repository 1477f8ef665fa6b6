"""The script that puts and deletes jobs for the Terraform of a service, through the API of a stand-in."""

import base64
import gzip
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sjm.client.manager import Manager
from tests.unit.sjm.stand_in import REGION, Reply, StandIn, stand_in
from tests.unit.terraform.blocks import TERRAFORM

JOB = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns", "payload": "<ü'\"\n>"}

type Run = Callable[..., str | None]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in of the stage prod, in the environment that Terraform provides for the service billing."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "MANAGE_JOB_FUNCTION"):
        monkeypatch.delenv(name, raising=False)
    with stand_in() as stage:
        environment = {
            "AWS_ACCESS_KEY_ID": "AKIDOFTHESERVICE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": stage.url.removesuffix("/apis/a1"),
            "AWS_REGION": "eu-west-3",
            "JOB": base64.b64encode(gzip.compress(json.dumps(JOB).encode())).decode(),
            "MANAGED_BY": "git.example/billing & co",
            "MANAGE_JOB_NAME": "sjm",
            "MANAGE_JOB_REGION": REGION,
            "MANAGE_JOB_STAGE": "prod",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield stage


@pytest.fixture
def run(stage: StandIn, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the script while the stage gives its address, and then these answers."""
    spec = importlib.util.spec_from_file_location("manage_job_by_api", TERRAFORM / "manage_job.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "_PAUSES_SECONDS", (0, 0))
    # SSM has as long to answer as to connect. The stand-in may be late.
    defaults = Manager.__init__.__kwdefaults__
    assert defaults
    assert "connect_timeout_seconds" in defaults
    monkeypatch.setitem(defaults, "connect_timeout_seconds", 60)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(action: str, *replies: Reply, address: Reply | None = None) -> str | None:
        stage.replies = [address or Reply(body={"Parameter": {"Value": stage.url}}), *replies]
        message: str | None = script.main([action, "billing/nightly"])
        assert stage.replies == []
        return message

    return run


def problem(status: int, kind: str, detail: str, **more: Any) -> Reply:
    return Reply(status, {"type": f"/problems/{kind}", "title": "t", "detail": detail, **more})


def test_a_job_is_put_unchanged_and_its_warnings_are_printed(
    run: Run, stage: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    warnings = [{"code": "never_fires", "detail": "it never fires again"}]
    assert run("put", Reply(201, {"warnings": warnings})) is None
    assert capsys.readouterr().out == "billing/nightly: warning: it never fires again\n"
    found, put = stage.received
    assert json.loads(found.content) == {"Name": "/sjm/prod/api-url"}
    assert (put.method, put.path, put.body) == ("PUT", "/apis/a1/services/billing/jobs/nightly", JOB)
    assert put.query == [("managed_by", "git.example/billing & co")]
    assert "Credential=AKIDOFTHESERVICE/" in put.headers["authorization"]
    assert f"/{REGION}/execute-api/" in put.headers["authorization"]


def test_a_deletion_names_the_place_that_manages_the_job(run: Run, stage: StandIn) -> None:
    assert run("delete", Reply(204)) is None
    deletion = stage.received[-1]
    assert (deletion.method, deletion.query) == ("DELETE", [("managed_by", "git.example/billing & co")])


@pytest.mark.parametrize("status", [404, 409])
def test_a_job_that_is_gone_or_managed_elsewhere_is_not_deleted(
    run: Run, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    kind = {404: "not-found", 409: "managed-elsewhere"}[status]
    assert run("delete", problem(status, kind, "It is another one's.")) is None
    assert capsys.readouterr().out == "billing/nightly: not deleted: It is another one's.\n"


def test_a_refusal_has_the_words_of_the_api(run: Run) -> None:
    errors = [{"pointer": "/schedule", "detail": "expected x"}, {"pointer": "", "detail": "expected y"}]
    refused = run("put", problem(400, "bad-request", "2 fields", errors=errors))
    assert refused == "billing/nightly: 400 2 fields\n  /schedule: expected x\n  /: expected y"
    assert run("put", problem(409, "managed-elsewhere", "It is managed there.")) == (
        "billing/nightly: 409 It is managed there."
    )
    no_room = problem(409, "schedule-limit", "no room", nearest_schedules=["rate(2 hours)"])
    assert str(run("put", no_room)).endswith("\n  nearest schedule: rate(2 hours)")


def test_a_caller_without_the_right_is_told_which_one(run: Run) -> None:
    for action in ("put", "delete"):
        message = run(action, Reply(403, {"message": "Forbidden"}))
        assert message == (
            "billing/nightly: 403 Forbidden. Expected a signature of credentials that may execute-api:Invoke"
            " this route"
        )


def test_a_temporary_failure_is_retried(run: Run) -> None:
    busy = problem(503, "contended", "others")
    assert run("put", busy, Reply(500, {"message": "Internal Server Error"}), Reply(200, {})) is None
    assert run("delete", busy, busy, busy) == "billing/nightly: 503 others"


def test_a_stage_that_is_not_there_is_named(run: Run) -> None:
    unknown = Reply(400, {"__type": "ParameterNotFound"}, content_type="application/x-amz-json-1.1")
    message = str(run("put", address=unknown))
    assert message.startswith(f"billing/nightly: The SSM parameter /sjm/prod/api-url in {REGION}")
    assert "does not exist" in message


def test_a_python_without_botocore_is_told_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    copied = tmp_path / "checkout" / "terraform"
    (copied / "modules").mkdir(parents=True)
    script = copied / "manage_job.py"
    script.write_text((TERRAFORM / "manage_job.py").read_text())

    done = subprocess.run(
        [bare / "bin" / "python3", script, "delete", "billing/nightly"],
        env={"MANAGED_BY": "Terraform", "MANAGE_JOB_STAGE": "prod", "MANAGE_JOB_NAME": "sjm"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "No module named 'botocore'" in done.stderr
    assert "Let python3 be Python 3.11 or later with botocore" in done.stderr
    assert "Traceback" not in done.stderr
