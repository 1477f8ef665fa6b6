"""The script that puts and deletes jobs for Terraform: how it invokes the function, and its messages."""

import base64
import gzip
import importlib.util
import io
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest

from jobmanager.delivery import trial
from tests.unit.terraform.blocks import TERRAFORM


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("manage_job_script", TERRAFORM / "manage_job.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_PAUSES_SECONDS", (0, 0))
    return module


class Function:
    """A Lambda client whose function gives these answers in turn, and then repeats the last."""

    def __init__(self, *answers: tuple[dict[str, Any], bool]) -> None:
        self._answers = list(answers)
        self.invoked: list[tuple[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        self.invoked.append((FunctionName, json.loads(Payload)))
        body, failed = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        answer: dict[str, Any] = {"Payload": io.BytesIO(json.dumps(body).encode())}
        return answer | ({"FunctionError": "Unhandled"} if failed else {})


@pytest.fixture
def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the script with a function, in the environment that Terraform provides."""

    def run(function: Function, *arguments: str, job: dict[str, Any] | None = None) -> Any:
        sts = SimpleNamespace(get_caller_identity=lambda: {"Arn": "arn:aws:iam::123456789012:user/ann"})
        clients = {"lambda": function, "sts": sts}
        regions: list[str] = []

        def client(name: str, region_name: str) -> Any:
            regions.append(region_name)
            return clients[name]

        monkeypatch.setattr(boto3, "client", client)
        monkeypatch.setenv("MANAGE_JOB_FUNCTION", "sjm-dev-manage-job")
        monkeypatch.setenv("MANAGE_JOB_REGION", "eu-central-1")
        monkeypatch.setenv("MANAGED_BY", "here")
        monkeypatch.delenv("JOB", raising=False)
        if job is not None:
            monkeypatch.setenv("JOB", base64.b64encode(gzip.compress(json.dumps(job).encode())).decode())
        message = script.main(list(arguments))
        assert set(regions) == {"eu-central-1"}
        return message

    return run


def problem(status: int, detail: str, **more: Any) -> dict[str, Any]:
    return {"problem": {"type": "/problems/x", "title": "x", "status": status, "detail": detail, **more}}


def test_a_job_is_put_unchanged(run: Any) -> None:
    function = Function(({"created": True}, False))
    job = {"schedule": "rate(1 hour)", "payload": "<ü'\"\n>"}
    assert run(function, "put", "billing/nightly", job=job) is None
    change = {"action": "put", "service_name": "billing", "job_name": "nightly", "managed_by": "here"}
    change["updated_by"] = "arn:aws:iam::123456789012:user/ann"
    assert function.invoked == [("sjm-dev-manage-job", change | {"job": job})]


def test_a_warning_is_printed_and_is_no_error(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    warnings = [{"code": "never_fires", "detail": "cron(0 0 31 2 ? *) never fires again"}]
    function = Function(({"created": True, "warnings": warnings}, False))
    assert run(function, "put", "billing/nightly", job={}) is None
    assert capsys.readouterr().out == "billing/nightly: warning: cron(0 0 31 2 ? *) never fires again\n"


def test_a_deletion_names_the_job_and_who_manages_it(run: Any) -> None:
    function = Function(({}, False))
    assert run(function, "delete", "billing/nightly") is None
    ((_, change),) = function.invoked
    assert (change["action"], change["job_name"], change["managed_by"]) == ("delete", "nightly", "here")
    assert "job" not in change


def test_a_refusal_lists_its_fields_and_is_not_retried(run: Any) -> None:
    errors = [{"pointer": "/schedule", "detail": "expected x"}, {"pointer": "", "detail": "expected object"}]
    function = Function((problem(400, "2 fields are not as expected", errors=errors), False))
    assert run(function, "put", "billing/nightly", job={}).splitlines() == [
        "billing/nightly: 400 2 fields are not as expected",
        "  /schedule: expected x",
        "  /: expected object",
    ]
    assert len(function.invoked) == 1


def test_the_message_includes_the_details_of_a_conflict_or_of_a_failed_target_test(run: Any) -> None:
    full = problem(409, "no room", nearest_schedules=["rate(2 hours)"])
    assert run(Function((full, False)), "put", "a/b", job={}).endswith("\n  nearest schedule: rate(2 hours)")
    deaf = problem(422, "no answer", seen={"status": 404})
    assert run(Function((deaf, False)), "put", "a/b", job={}).endswith('\n  seen: {"status": 404}')


@pytest.mark.parametrize(
    "passing", [(problem(503, "busy"), False), ({"errorType": "AwsCallFailed", "errorMessage": "m"}, True)]
)
def test_a_temporary_failure_is_retried(run: Any, passing: Any) -> None:
    function = Function(passing, ({"created": False}, False))
    assert run(function, "put", "a/b", job={}) is None
    assert len(function.invoked) == 2


def test_a_topic_that_the_role_may_not_read_yet_is_retried(script: ModuleType, run: Any) -> None:
    """The same apply may have added the topic, and a new IAM policy takes a while to reach all of AWS."""
    assert script._NOT_ALLOWED_YET == trial._NOT_OURS
    denied = problem(422, "it does not take notifications", seen={"error": trial._NOT_OURS})
    function = Function((denied, False), ({"created": True}, False))

    assert run(function, "put", "a/b", job={}) is None
    assert len(function.invoked) == 2


def test_a_topic_that_the_role_may_not_read_fails_sooner_than_a_temporary_error(
    script: ModuleType, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "_PAUSES_SECONDS", (0,) * 7)
    denied = Function((problem(422, "no", seen={"error": trial._NOT_OURS}), False))
    busy = Function((problem(503, "busy"), False))

    assert run(denied, "put", "a/b", job={}).startswith("a/b: 422 no")
    assert run(busy, "put", "a/b", job={}) == "a/b: 503 busy"
    assert (len(denied.invoked), len(busy.invoked)) == (6, 8)


def test_a_failure_that_persists_is_reported_after_the_last_retry(run: Any) -> None:
    failing = Function(({"errorType": "AwsCallFailed", "errorMessage": "m"}, True))
    message = run(failing, "delete", "a/b")
    assert message.startswith(
        "a/b: the function manage_job failed: AwsCallFailed: m. Run terraform apply again"
    )
    assert len(failing.invoked) == 3
    assert run(Function((problem(503, "busy"), False)), "delete", "a/b") == "a/b: 503 busy"


@pytest.mark.parametrize("arguments", [[], ["put"], ["drop", "a/b"], ["put", "a"], ["put", "a/b", "{}"]])
def test_other_arguments_are_answered_with_an_example(script: ModuleType, arguments: list[str]) -> None:
    assert "for example: put billing/nightly" in script.main(arguments)
