"""What goes wrong is told in a sentence, and never as a trace."""

import socket

import pytest

from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn

FIELDS = {
    "type": "/problems/bad-request",
    "title": "The request does not fit the API",
    "detail": "2 fields are wrong.",
    "errors": [{"pointer": "/ttl_seconds", "detail": "expected 10 to 43200"}, {"pointer": "", "detail": "x"}],
    "more_errors": 3,
    "nearest_schedules": ["rate(5 minutes)"],
    "request_id": "r-1",
}


def test_a_problem_is_told_with_all_that_helps(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(400, FIELDS))
    done = sjm("jobs", "show", "a/b")

    assert (done.code, done.out) == (10, "")
    assert done.err.splitlines() == [
        "Error: 2 fields are wrong. (400)",
        "  /ttl_seconds: expected 10 to 43200",
        "  body: x",
        "  and 3 more errors",
        "  Schedules in use that are near: rate(5 minutes)",
        "  request_id: r-1",
    ]


def test_what_may_pass_has_a_code_of_its_own(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.client.Retries.wait_after", lambda *_: None)
    server.replies.append(Reply(503, {"message": "Service Unavailable"}))
    done = sjm("jobs", "show", "a/b")

    assert (done.code, done.err) == (11, "Error: 503 Service Unavailable: Service Unavailable\n")


def test_a_caller_without_rights_reads_which_it_needs(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(403, {"message": "Forbidden"}))
    done = sjm("jobs", "list")

    assert done.code == 10
    assert "execute-api:Invoke" in done.err


def test_a_page_of_a_proxy_is_not_taken_for_an_answer(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(200, b"<html>", content_type="text/html"))
    done = sjm("jobs", "list")

    assert done.code == 10
    assert "Check that the address is that of a manager's API." in done.err


def test_nobody_listens(sjm: Sjm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sjm.client.Retries.wait_after", lambda *_: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = sjm("jobs", "list", "--url", f"http://127.0.0.1:{port}")

    assert done.code == 11
    assert "did not reach the API" in done.err


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_REGION", "SJM_URL"])
def test_what_is_not_set_is_named(sjm: Sjm, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    done = sjm("jobs", "list")

    assert (done.code, name in done.err) == (2 if name == "SJM_URL" else 10, True)


def test_a_profile_that_is_not_there_is_named(sjm: Sjm) -> None:
    done = sjm("jobs", "list", "--profile", "ops")

    assert done.code == 10
    assert "The config profile (ops) could not be found" in done.err


def test_what_the_command_line_says_is_stronger_than_the_environment(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def published(_: object, parameter: str, region: str, timeout: float) -> str:
        asked.append(f"{parameter} {region}")
        return server.url

    monkeypatch.setattr("sjm.client.aws.Account.published_url", published)
    sjm("--stage", "qa", "jobs", "list", "--stage", "prod", "--name", "jobs", "--region", "us-east-1")
    sjm("jobs", "list", "--stage", "prod", "--url", server.url)
    monkeypatch.setenv("SJM_STAGE", "dev")
    sjm("jobs", "list")
    monkeypatch.delenv("SJM_URL")
    sjm("jobs", "list")

    assert asked == ["/jobs/prod/api-url us-east-1", "/sjm/dev/api-url eu-central-1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("jobs", "sho"), "No such command 'sho'"),
        (("jobs", "list", "--limt", "3"), "No such option"),
        (("jobs", "list", "-o", "xml"), "'xml' is not one of"),
        (("jobs", "show"), "Missing argument 'SERVICE/JOB'"),
        (("jobs", "show", "a/\udcff"), "is not text in UTF-8"),
        (("secrets", "list", ".."), "'..' is not a name"),
        (("secrets", "create", "a", "--overlap", "1y"), "'1y' is not a span"),
        (("jobs", "run", "a/b", "--payload-file", "/nowhere"), "No such file or directory"),
    ],
)
def test_a_mistake_on_the_command_line(
    sjm: Sjm, server: StandIn, arguments: tuple[str, ...], sentence: str
) -> None:
    done = sjm(*arguments)

    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert server.received == []


def test_an_idempotency_key_that_cannot_be_sent_is_refused(sjm: Sjm) -> None:
    done = sjm("jobs", "run", "a/b", "--idempotency-key", "a b")

    assert (done.code, "1 to 255 visible ASCII characters" in done.err) == (2, True)


def test_a_mistake_of_sjm_itself_says_how_to_report_it(sjm: Sjm, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("sjm.client.Manager.get_openapi", broken)
    done = sjm("openapi")

    assert done.code == 70
    assert "ZeroDivisionError: x" in done.err
    assert "SJM_TRACE=1 sjm" in done.err
    assert "Traceback" not in done.err


def test_a_full_disk_is_no_mistake_of_sjm(sjm: Sjm, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sjm.cli.output.Output.document", full)

    assert sjm("openapi").err == "Error: [Errno 28] No space left on device\n"


def test_secrets_are_shown_once_and_deleted_with_care(sjm: Sjm, server: StandIn) -> None:
    created = sjm("secrets", "create", "billing", "--overlap", "7d")
    refused = sjm("secrets", "delete", "billing", "9f86d081884c7d65")
    deleted = sjm("secrets", "delete", "billing", "9f86d081884c7d65", "--force", "--yes")

    assert created.out == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
    assert "60303ae22b998861 stays valid until 2026-11-24 10:00:00 CET." in created.err
    assert (refused.code, deleted.code) == (2, 0)
    assert [each.method for each in server.received] == ["POST", "DELETE"]
    assert server.received[0].body == {"overlap_seconds": 604_800}
    assert server.received[1].query == [("force", "true")]


def test_a_reconciliation_that_is_not_complete_is_no_success(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body={"checked": 1, "changed": [], "missed": [], "complete": False}))
    done = sjm("schedules", "reconcile")

    assert (done.code, "Repeat the command" in done.err) == (1, True)
