"""``sjm rehearse``: what it writes, and how it exits. What the scenes find is tested beside them."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sjm.rehearsal.scenes import NAMES
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.rehearsal.receivers import SECRET, Receiver, WithoutVerification

SOURCE = Path(__file__).resolve().parents[4] / "sjm" / "src"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)


@pytest.fixture
def good() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def faulty() -> Iterator[Receiver]:
    with WithoutVerification() as receiver:
        yield receiver


def only(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--only", name)]


def test_a_report_card_of_a_good_receiver(sjm: Sjm, good: Receiver) -> None:
    done = sjm("rehearse", good.url, "--service", "billing", "--job", "nightly", *only("good", "test"))

    assert (done.code, done.err) == (0, f"Rehearsing {good.url}. It takes about 10 to 30 seconds.\n")
    header, run, test, summary = done.out.splitlines()
    assert header.split() == ["VERDICT", "SCENE", "SEEN,", "AND", "WHAT", "TO", "DO"]
    assert run.startswith("passed     good            answered 202 after ")
    assert test.startswith("passed     test            answered 200 after ")
    assert summary == "2 passed."


def test_a_failure_says_what_to_do_and_exits_with_1(sjm: Sjm, faulty: Receiver) -> None:
    done = sjm("rehearse", faulty.url, *only("good", "unsigned", "test"))

    assert done.code == 1
    assert re.search("failed +unsigned +(it worked: )?answered 202", done.out)
    assert "→ Reject every webhook without `webhook-signature` with 401" in done.out
    assert "→ docs/api.md#signatures" in done.out
    assert done.out.endswith("2 passed, 1 failed.\n")


def test_json_for_programs(sjm: Sjm, faulty: Receiver) -> None:
    done = sjm("rehearse", faulty.url, *only("good", "unsigned", "test"), "-o", "json")
    lines = sjm("rehearse", faulty.url, *only("test"), "-o", "jsonl")

    found = {each["scene"]: each for each in json.loads(done.out)}
    assert (done.code, done.err) == (1, "")
    assert found.keys() == {"good", "test", "unsigned"}
    assert found["unsigned"].keys() == {"scene", "about", "verdict", "seen", "fixes", "link"}
    assert (found["unsigned"]["verdict"], found["test"]["verdict"]) == ("failed", "passed")
    assert (lines.code, json.loads(lines.out)["scene"]) == (0, "test")


def test_the_others_are_not_tried_if_nobody_listens(sjm: Sjm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = sjm("rehearse", f"http://127.0.0.1:{port}/jobs", "-o", "json")

    verdicts = {each["scene"]: each["verdict"] for each in json.loads(done.out)}
    assert done.code == 1
    assert verdicts.pop("good") == "failed"
    assert set(verdicts.values()) == {"not tried"}
    assert set(NAMES) - verdicts.keys() == {"good", "sync-answer", "replaced"}


def test_without_a_secret_signatures_are_not_tried(
    sjm: Sjm, faulty: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEBHOOK_SECRET")
    done = sjm("rehearse", faulty.url, *only("unsigned"))

    assert done.code == 0
    assert "not tried  unsigned" in done.out
    assert "WEBHOOK_SECRET" in done.out


def test_a_sync_job_is_judged_by_its_answers(sjm: Sjm, good: Receiver) -> None:
    done = sjm("rehearse", good.url, "--sync", "-o", "json")

    verdicts = {each["scene"]: each["verdict"] for each in json.loads(done.out)}
    assert done.code == 0, done.out
    assert set(verdicts.values()) == {"passed"}
    assert "sync-answer" in verdicts
    assert "duplicate" not in verdicts


class TellsItsSecret(Receiver):
    def work(self, body: dict[str, object]) -> None:
        self.call_back(body, status="fail", error=f"cannot use {SECRET}\x1b[2J")


def test_the_secret_is_never_shown(sjm: Sjm) -> None:
    with TellsItsSecret() as receiver:
        outputs = [sjm("rehearse", receiver.url, *only("good"), *more) for more in ([], ["-o", "json"])]
    wrong = sjm("rehearse", receiver.url, "--secret", "whsec_not/base64!")

    assert [done.code for done in outputs] == [1, 1]
    for done in (*outputs, sjm("rehearse", "--help")):
        assert SECRET.removeprefix("whsec_") not in done.out + done.err
        assert "\x1b" not in done.out
    assert "cannot use whsec_[secret]" in outputs[0].out
    assert (wrong.code, "not/base64" in wrong.err) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["billing.example/jobs"], "expected a URL such as https://billing.example"),
        (["ftp://billing.example/"], "expected a URL such as https://billing.example"),
        (["https://me:word@billing.example/"], "no user name or password"),
        (["http://billing.example:port/"], "expected a URL"),
        (["http://bücher.example/"], "visible ASCII"),
        (["http://x", "--only", "unheard"], "Invalid value for '--only'"),
        (["http://x", "--timeout", "9"], "x>=10"),
        ([], "Missing argument 'URL'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(sjm: Sjm, arguments: list[str], expected: str) -> None:
    done = sjm("rehearse", *arguments)

    assert (done.code, done.out) == (2, "")
    assert expected in done.err


def test_a_port_for_callbacks_that_is_taken_is_named(sjm: Sjm, good: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = sjm("rehearse", good.url, "--callback-port", port)

    assert (done.code, f"port {port} for callbacks" in done.err) == (2, True)


class Silent(Receiver):
    def __init__(self) -> None:
        super().__init__()
        self.was_notified = threading.Event()

    def work(self, body: dict[str, object]) -> None:
        self.was_notified.set()


def test_ctrl_c_ends_it_at_once(environment: dict[str, str]) -> None:
    # A shell lets the processes in its background ignore Ctrl-C, and those that they start.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sjm.cli import main; main()"
    )
    with Silent() as receiver:
        arguments = ["rehearse", receiver.url, "--timeout", "3600", *only("server-error")]
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**environment, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert receiver.was_notified.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_it_imports_neither_the_client_nor_botocore() -> None:
    code = "import sys, sjm.rehearsal.playing; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "sjm.rehearsal.playing" in done.stdout
    assert {"sjm.client", "sjm.cli", "botocore"}.isdisjoint(done.stdout.split())
