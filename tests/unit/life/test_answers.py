"""The manager reads each answer of random life as ``tests.life.conduct`` says."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from jobmanager.delivery.sync_answer import AnswerInvalid, result_of
from jobmanager.targets import target as web_target
from jobmanager.targets.webhook import Answer, NoAnswer, post
from tests.life import answers, conduct

RESULT = answers.result_of("97cc7f1c-5b0e-5e2c-9a3f-0123456789ab-20261123T120000Z")


class Handler(BaseHTTPRequestHandler):
    """Answers as its path asks for."""

    def do_POST(self) -> None:
        self.close_connection = True
        self.rfile.read(int(self.headers["Content-Length"]))
        kind, name = self.path.split("/")[1:]
        answers.send(self, name.replace("_", " ").replace("|", "/"), RESULT if kind == "sync" else None)

    def write(self, content: bytes) -> None:
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeps less, and waits longer for slow machines; targets on loopback are allowed."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 20))
    monkeypatch.setattr(answers, "RETRY_AFTER_SECONDS", 4000)  # so that a date is still to come
    monkeypatch.setattr(web_target, "_MAX_RESOLVE_SECONDS", 60)
    for name in ("ALLOW_LOOPBACK_TARGETS", "ALLOW_HTTP_TARGETS"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("ALLOW_PRIVATE_TARGETS", "false")


def asked(url: str, kind: str, name: str) -> Answer:
    path = name.replace(" ", "_").replace("/", "|")
    return post(f"{url}/{kind}/{path}", b"{}", {}, 60, wants_body=kind == "sync")


@pytest.mark.parametrize("answer", sorted(conduct.ACCEPTING))
def test_an_accepting_answer_is_a_success(url: str, answer: str) -> None:
    assert asked(url, "async", answer).is_success


@pytest.mark.parametrize("answer", sorted(conduct.RESULTS))
def test_a_result_is_read_in_every_form(url: str, answer: str) -> None:
    assert result_of(asked(url, "sync", answer)) == RESULT


@pytest.mark.parametrize("answer", sorted(conduct.SYNC_INVALID))
def test_an_answer_that_cannot_be_read_is_no_success(url: str, answer: str) -> None:
    found = asked(url, "sync", answer)
    assert found.is_success
    with pytest.raises(AnswerInvalid):
        result_of(found)


@pytest.mark.parametrize("answer", sorted(conduct.SYNC_SUCCESSES - conduct.RESULTS))
def test_a_success_without_a_result_has_none(url: str, answer: str) -> None:
    assert result_of(asked(url, "sync", answer)) == {}


@pytest.mark.parametrize("answer", sorted(conduct.LOST - {"mute"}))
def test_after_a_lost_answer_the_notification_is_sent_again(url: str, answer: str) -> None:
    try:
        found = asked(url, "async", answer)
    except NoAnswer:
        assert answer not in conduct.POSTPONING
    else:
        assert found.status == 429 or found.status >= 500
        assert (0 < found.retry_after_seconds <= answers.RETRY_AFTER_SECONDS) == (
            answer in conduct.POSTPONING
        )


@pytest.mark.parametrize("answer", sorted(conduct.REFUSALS))
def test_a_refusal_is_final(url: str, answer: str) -> None:
    assert 300 <= asked(url, "async", answer).status < 429
