"""The callback URLs of a rehearsal, over HTTP: they answer as the manager does, or as a scene wants."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from sjm.rehearsal.answers import always_gone, failing_for_results, unreachable_for
from sjm.rehearsal.callbacks import CallbackServer, PortTaken
from sjm.rehearsal.execution import Execution, Stopped
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.settings import Settings
from sjm.rehearsal.webhook import Answer

HEARTBEAT = {"status": "processing", "progress": 50}
SUCCESS = {"status": "success", "state": "1"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def callbacks() -> Iterator[CallbackServer]:
    with CallbackServer(None, 0) as server:
        yield server


@pytest.fixture
def manager(callbacks: CallbackServer) -> PlayedManager:
    return PlayedManager(Settings("http://127.0.0.1:9/", "billing", "nightly"), callbacks)


def posted(
    url: str, body: Any = None, content: Any = None, headers: dict[str, str] = JSON
) -> tuple[int, dict[str, Any], dict[str, str]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    content = json.dumps(body).encode() if content is None else content
    connection.request("POST", parts.path, content, headers)
    with connection.getresponse() as answer:
        found = answer.status, json.loads(answer.read()), dict(answer.getheaders())
    connection.close()
    return found


def test_callbacks_are_answered_as_the_manager_does(manager: PlayedManager) -> None:
    execution = manager.execution()
    url = execution.notification()["callback_url"]
    status, body, _ = posted(url, HEARTBEAT)

    assert (status, body["status"], body["attempt"]) == (200, "running", 1)
    assert (body["execution_id"], "lock_expires_at" in body) == (execution.id, True)
    assert posted(url, SUCCESS)[:2][1]["status"] == "success"
    assert posted(url, SUCCESS)[0] == 200
    assert posted(url, {**SUCCESS, "state": "2"})[0] == 410
    assert posted(url, HEARTBEAT)[1]["execution_status"] == "cancelled"
    assert [each.status for each in execution.seen().callbacks] == [200, 200, 200, 410, 410]


def test_wrong_callbacks_are_refused(manager: PlayedManager) -> None:
    execution = manager.execution()
    url = execution.notification()["callback_url"]

    assert posted(url, {"status": "done"})[0] == 400
    assert posted(url, content=b"{")[0] == 400
    assert posted(url, content=b"[]")[0] == 400
    assert (
        posted(url, content=b"status=done", headers={"content-type": "application/x-www-form-urlencoded"})[0]
        == 415
    )
    assert posted(f"{url}x", SUCCESS)[0] == 403
    assert [each.status for each in execution.seen().callbacks] == [400, 400, 400, 415, 403]
    assert all(each.refusal for each in execution.seen().callbacks)
    assert execution.seen().result_of(1) is None


def test_a_body_may_come_in_chunks(manager: PlayedManager) -> None:
    execution = manager.execution()
    url = execution.notification()["callback_url"]
    chunks = (part for part in (b'{"status": ', b'"success"', b"}"))

    assert posted(url, content=chunks, headers=JSON)[0] == 200
    assert execution.seen().result_of(1)


def test_a_further_attempt_ends_the_one_before(manager: PlayedManager) -> None:
    execution = manager.execution()
    first, second = (execution.notification(attempt)["callback_url"] for attempt in (1, 2))

    assert [posted(first, HEARTBEAT)[0], posted(second, HEARTBEAT)[0], posted(second, SUCCESS)[0]] == [
        410,
        200,
        200,
    ]
    assert [each.url for each in execution.seen().callbacks] == [0, 1, 1]


def test_a_scene_answers_as_it_likes(manager: PlayedManager) -> None:
    gone = manager.execution(always_gone).notification()["callback_url"]
    busy = manager.execution(failing_for_results(1, 429, 7)).notification()["callback_url"]
    away = manager.execution(unreachable_for(3600)).notification()["callback_url"]

    assert posted(gone, HEARTBEAT)[0] == 410
    assert posted(busy, HEARTBEAT)[0] == 200
    status, _, headers = posted(busy, SUCCESS)
    assert (status, headers["retry-after"]) == (429, "7")
    assert posted(busy, SUCCESS)[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        posted(away, HEARTBEAT)


def test_a_callback_may_have_to_wait(manager: PlayedManager) -> None:
    execution = manager.execution()
    execution.released.clear()
    url = execution.notification()["callback_url"]
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(posted(url, SUCCESS)[0]))
    thread.start()
    assert execution.wait_for_callback()
    assert answers == []
    execution.released.set()
    thread.join(60)

    assert answers == [200]


def test_an_exclusive_job_has_rising_fencing_tokens(callbacks: CallbackServer) -> None:
    manager = PlayedManager(Settings("http://127.0.0.1:9/", exclusive=True), callbacks)
    first, second = manager.execution(), manager.execution()

    tokens = [
        each.notification(attempt)["fencing_token"] for each, attempt in ((first, 1), (first, 2), (second, 1))
    ]
    assert tokens == [1, 1, 2]


def test_later_executions_get_the_state_of_the_good_run(manager: PlayedManager) -> None:
    execution = manager.execution()
    execution.deliver(execution.notification())
    posted(execution.notification()["callback_url"], {**SUCCESS, "summary": "done"})
    manager.remember(execution)
    last = manager.execution().notification()["last_successful_execution"]

    assert (last["execution_id"], last["state"], last["summary"]) == (execution.id, "1", "done")
    assert manager.took is not None and manager.took >= 0


def test_who_waits_is_woken_when_the_rehearsal_is_stopped(
    manager: PlayedManager, callbacks: CallbackServer
) -> None:
    execution = manager.execution()
    execution.notification()
    callbacks.stop_executions()
    late = manager.execution()
    late.notification()

    for each in (execution, late):
        with pytest.raises(Stopped):
            each.wait_for_result()
        with pytest.raises(Stopped):
            each.wait(60)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTaken, match="for callbacks"):
        CallbackServer(None, taken.getsockname()[1])


def test_a_receiver_elsewhere_gets_the_name_of_this_machine() -> None:
    settings = Settings("http://127.0.0.1:9/")
    with CallbackServer("localhost", 0) as server:
        execution = Execution(settings, server.register)
        url = execution.notification()["callback_url"]
        assert urlsplit(url).hostname == "localhost"
        assert posted(url, SUCCESS)[0] == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("", 0),
        ("soon", 0),
        ("-7", 0),
        ("Mon, 23 Nov 2026 02:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 01:00:00 GMT", 0),
    ],
)
def test_a_busy_receiver_says_when_to_come_back(value: str, seconds: float) -> None:
    now = datetime(2026, 11, 23, 2, tzinfo=UTC)

    assert Answer(503, {"retry-after": value}).retry_after_seconds(now) == seconds


@pytest.mark.parametrize("method", ["PUT", "GET", "PATCH"])
def test_a_callback_with_another_method_is_noted(manager: PlayedManager, method: str) -> None:
    execution = manager.execution()
    parts = urlsplit(execution.notification()["callback_url"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request(method, parts.path, b"" if method == "GET" else b"{}", JSON)
    with connection.getresponse() as answer:
        assert answer.status == 404
    connection.close()

    (callback,) = execution.seen().callbacks
    assert (callback.status, callback.refusal) == (404, f"expected POST, not {method}")


def test_a_callback_url_that_was_cut_off_is_noted(manager: PlayedManager) -> None:
    execution = manager.execution()
    url = execution.notification()["callback_url"]
    assert posted(url[:-5], SUCCESS)[0] == 403
    assert posted(url.rpartition("/")[0] + f"/{execution.id}", SUCCESS)[0] == 403
    assert posted(url.replace(execution.id, "another"), SUCCESS)[0] == 403

    assert [each.refusal for each in execution.seen().callbacks] == ["it is not the whole callback_url"] * 2
