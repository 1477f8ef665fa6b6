"""The ASGI door, called as a server calls it."""

import asyncio
import threading
from typing import Any

import pytest

from sjm.receiver import Run
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Answered, Manager, encoded, signed


def scope(headers: dict[str, str], method: str = "POST") -> dict[str, Any]:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": "/jobs", "headers": raw}


def chunks(content: bytes, size: int) -> list[dict[str, Any]]:
    parts = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
    return [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]


async def acall(application: Any, scope: dict[str, Any], messages: list[Any]) -> list[dict[str, Any]]:
    waiting, sent = iter(messages), []

    async def receive() -> Any:
        return next(waiting)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent


async def answer(application: Any, content: bytes, headers: dict[str, str], size: int = 10**7) -> Answered:
    start, body = await acall(application, scope(headers), chunks(content, size))
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    sent = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answered(start["status"], sent, body["body"])


def test_a_webhook_is_taken_whole_or_in_pieces(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    for size in (10**7, 7):
        content = encoded(manager.notification())
        taken = asyncio.run(answer(jobs.asgi(), content, signed(content), size))
        assert (taken.status, taken.json) == (202, {"outcome": "accepted"})
        assert taken.headers["content-type"] == "application/json"


def test_a_coroutine_runs_in_the_loop_of_the_server(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    @jobs.job("nightly")
    async def nightly(run: Run) -> str:
        return threading.current_thread().name

    @jobs.job("now")
    async def now(run: Run) -> str:
        return threading.current_thread().name

    async def serve() -> Answered:
        content = encoded(notification)
        assert (await answer(jobs.asgi(), content, signed(content))).status == 202
        sync = encoded(manager.notification("now", sync=True))
        answered = await answer(jobs.asgi(), sync, signed(sync))
        while not manager.results():
            await asyncio.sleep(0.01)
        return answered

    notification = manager.notification()
    finished = asyncio.run(serve())
    main = threading.current_thread().name

    assert manager.results() == [{"status": "success", "summary": main}]
    assert (finished.status, finished.json) == (200, {"summary": main})


def test_sync_jobs_do_not_hold_up_other_webhooks(manager: Manager, make_receiver: MakeReceiver) -> None:
    """The executor of a loop has five threads on a machine with one processor."""
    jobs = make_receiver(workers=50)
    may_end = threading.Event()
    jobs.job("now")(lambda run: may_end.wait(WAIT_SECONDS) and None)
    jobs.job("nightly")(lambda run: None)

    async def post(job_name: str, sync: bool) -> int:
        content = encoded(manager.notification(job_name, sync=sync))
        return (await answer(application, content, signed(content))).status

    async def serve() -> list[int]:
        waiting = [asyncio.create_task(post("now", sync=True)) for _ in range(40)]
        while jobs.engine.pool.free > 10:
            await asyncio.sleep(0.01)
        taken = await post("nightly", sync=False)
        may_end.set()
        return [taken, *await asyncio.gather(*waiting)]

    application = jobs.asgi()
    assert asyncio.run(serve()) == [202, *[200] * 40]


def test_a_coroutine_that_is_cancelled_with_its_loop_is_a_failure(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    began = threading.Event()

    @jobs.job("nightly")
    async def nightly(run: Run) -> None:
        began.set()
        await asyncio.sleep(3600)

    async def serve() -> None:
        content = encoded(notification)
        await answer(jobs.asgi(), content, signed(content))
        while not began.is_set():
            await asyncio.sleep(0.01)

    notification = manager.notification()
    asyncio.run(serve())

    assert manager.wait_for_result(notification["execution_id"])["status"] == "fail"


def test_what_is_no_webhook_is_refused(make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    async def call() -> None:
        start, _ = await acall(jobs.asgi(), scope({}, "GET"), [])
        assert start["status"] == 405
        assert (await answer(jobs.asgi(), b"{}", {})).status == 401
        assert (await answer(jobs.asgi(), b"x" * 1_100_000, {}, 100_000)).status == 413
        assert await acall(jobs.asgi(), scope({}), [{"type": "http.disconnect"}]) == []
        with pytest.raises(NotImplementedError, match="websocket"):
            await acall(jobs.asgi(), {"type": "websocket"}, [])

    asyncio.run(call())


def test_the_server_starts_and_ends_it(manager: Manager, make_receiver: MakeReceiver, tmp_path: Any) -> None:
    jobs = make_receiver(spool=tmp_path)
    live = [{"type": f"lifespan.{each}"} for each in ("other", "startup", "other", "shutdown")]
    sent = asyncio.run(acall(jobs.asgi(), {"type": "lifespan"}, live))

    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert jobs.engine.is_closing
