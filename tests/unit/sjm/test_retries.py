"""What is repeated, how often and after which wait."""

import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from sjm.client import (
    BadRequest,
    Contended,
    InternalError,
    Manager,
    NoAnswer,
    NotFound,
    PreconditionFailed,
    Retries,
    Throttled,
    Unavailable,
)
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer
from tests.unit.sjm.test_operations import EXECUTION, JOB, TOKEN

GATEWAY = "application/json"
THROTTLED = Reply(429, {"message": "Too Many Requests"}, content_type=GATEWAY)
UNAVAILABLE = Reply(503, {"message": "Service Unavailable"}, content_type=GATEWAY)
FAILED = Reply(500, {"message": "Internal Server Error"}, content_type=GATEWAY)
CONTENDED = Reply(
    503, {"type": "/problems/contended", "title": "T", "status": 503, "detail": "Others are changing it."}
)
BROKEN = Reply(200, {"half": "an answer"}, breaks_off=True)

# A second request does nothing that the first has not done.
REPEATABLE: dict[str, Callable[[Manager], Any]] = {
    "get": lambda m: m.get_job("a", "b"),
    "put": lambda m: m.put_job("a", "b", JOB),
    "put if": lambda m: m.put_job("a", "b", JOB, if_match=3),
    "delete": lambda m: m.delete_job("a", "b"),
    "delete if": lambda m: m.delete_job("a", "b", if_match=3),
    "pause": lambda m: m.pause_job("a", "b", "c"),
    "resume": lambda m: m.resume_job("a", "b"),
    "start": lambda m: m.start_execution("a", "b"),
    "rerun": lambda m: m.rerun_execution("a", "b", EXECUTION),
    "cancel": lambda m: m.cancel_execution("a", "b", EXECUTION),
    "reconcile": lambda m: m.reconcile_schedules(),
    "list": lambda m: next(m.list_executions().pages()),
    "search": lambda m: next(m.search_jobs({}).pages()),
    "call back": lambda m: m.call_back(f"{m.url}/callback/{TOKEN}", {"status": "success"}),
    "delete secret": lambda m: m.delete_webhook_secret("a", "b"),
}
ONCE: dict[str, Callable[[Manager], Any]] = {
    "put new": lambda m: m.put_job("a", "b", JOB, only_if_new=True),
    "create secret": lambda m: m.create_webhook_secret("a"),
    "test": lambda m: m.test_job("a", "b"),
}
each_repeatable = pytest.mark.parametrize("call", REPEATABLE.values(), ids=REPEATABLE)
each_once = pytest.mark.parametrize("call", ONCE.values(), ids=ONCE)
each_call = pytest.mark.parametrize("call", [*REPEATABLE.values(), *ONCE.values()], ids=[*REPEATABLE, *ONCE])


@each_repeatable
@pytest.mark.parametrize("reply", [FAILED, UNAVAILABLE, BROKEN], ids=["500", "503", "broken"])
def test_what_may_have_been_done_is_repeated_if_that_is_safe(
    server: StandIn, call: Callable[[Manager], Any], reply: Reply
) -> None:
    server.replies = [reply]
    with server.manager() as manager:
        call(manager)

    first, second = server.received
    keys = ("method", "target", "content")
    assert [getattr(first, key) for key in keys] == [getattr(second, key) for key in keys]
    assert first.headers.get("idempotency-key") == second.headers.get("idempotency-key")


@each_once
@pytest.mark.parametrize(
    ("reply", "kind"),
    [(FAILED, InternalError), (UNAVAILABLE, Unavailable), (BROKEN, NoAnswer)],
    ids=["500", "503", "broken"],
)
def test_what_may_have_been_done_is_not_repeated_if_that_would_do_more(
    server: StandIn, call: Callable[[Manager], Any], reply: Reply, kind: type[Exception]
) -> None:
    server.replies = [reply]
    with server.manager() as manager, pytest.raises(kind):
        call(manager)
    assert len(server.received) == 1


@each_call
@pytest.mark.parametrize("reply", [THROTTLED, CONTENDED], ids=["throttled", "contended"])
def test_what_was_certainly_not_done_is_always_repeated(
    server: StandIn, call: Callable[[Manager], Any], reply: Reply
) -> None:
    server.replies = [reply, reply]
    with server.manager() as manager:
        call(manager)
    assert len(server.received) == 3


@each_once
def test_a_request_that_did_not_arrive_is_always_repeated(
    server: StandIn, call: Callable[[Manager], Any]
) -> None:
    slept: list[float] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        manager = server.manager(url=url, retries=Retries(sleep=slept.append))
        with manager, pytest.raises(NoAnswer, match="did not reach the API") as raised:
            call(manager)
    assert raised.value.may_have_acted is False
    assert len(slept) == 3


@pytest.mark.parametrize("status", [400, 404, 412])
def test_a_refusal_is_not_repeated(server: StandIn, status: int) -> None:
    server.replies = [Reply(status, {"message": "no"}, content_type=GATEWAY)]
    kind = {400: BadRequest, 404: NotFound, 412: PreconditionFailed}[status]
    with server.manager() as manager, pytest.raises(kind):
        manager.put_job("a", "b", JOB)
    assert len(server.received) == 1


def test_the_last_failure_is_raised(server: StandIn) -> None:
    server.replies = [FAILED, UNAVAILABLE, FAILED, THROTTLED]
    with server.manager() as manager, pytest.raises(Throttled):
        manager.get_job("a", "b")
    assert len(server.received) == 4

    server.replies = [CONTENDED]
    with server.manager(retries=Retries(max_attempts=1)) as manager, pytest.raises(Contended):
        manager.get_job("a", "b")
    assert len(server.received) == 5


def test_a_secret_that_an_earlier_try_may_have_deleted_need_not_be_found(server: StandIn) -> None:
    gone = Reply(404, {"type": "/problems/not-found", "title": "T", "status": 404, "detail": "D"})
    server.replies = [BROKEN, gone]
    with server.manager() as manager:
        manager.delete_webhook_secret("a", "b")

    server.replies = [THROTTLED, gone]  # the first try deleted nothing
    with server.manager() as manager, pytest.raises(NotFound):
        manager.delete_webhook_secret("a", "b")


def test_each_try_is_signed_anew(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(["20261129T000000Z", "20261129T001000Z"])
    from botocore import auth

    class Later(auth.SigV4Auth):
        def signature(self, string_to_sign: str, request: Any) -> str:
            return next(times)

    monkeypatch.setattr("sjm.client.aws.SigV4Auth", Later)
    server.replies = [THROTTLED]
    with server.manager() as manager:
        manager.get_job("a", "b")

    ends = [each.headers["authorization"].partition("Signature=")[2] for each in server.received]
    assert ends == ["20261129T000000Z", "20261129T001000Z"]


def test_waits_are_random_grow_and_are_bounded(server: StandIn) -> None:
    slept: list[float] = []
    retries = Retries(
        max_attempts=6, base_seconds=1, max_wait_seconds=5, sleep=slept.append, random=lambda: 0.5
    )
    server.replies = [UNAVAILABLE] * 5
    with server.manager(retries=retries) as manager:
        manager.get_job("a", "b")
    assert slept == [0.5, 1.0, 2.0, 2.5, 2.5]

    drawn = [Retries().wait_after(3, None) for _ in range(200)]
    assert all(wait is not None and 0 <= wait <= 2 for wait in drawn)
    assert len(set(drawn)) > 100


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("3", 3.25),
        (" 0 ", 0.25),
        (formatdate(1007, usegmt=True), 7.25),
        (formatdate(1, usegmt=True), 0.25),
        ("soon", 0.25),
        ("-1", 0.25),
        ("²", 0.25),
        ("", 0.25),
        (None, 0.25),
        ("20", 20.25),
        ("21", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_honoured_up_to_the_longest_wait(value: str | None, wait: float | None) -> None:
    retries = Retries(random=lambda: 0.5, now=lambda: 1000.0)

    assert retries.wait_after(1, value) == wait


def test_a_retry_after_that_is_too_long_raises_at_once(server: StandIn) -> None:
    server.replies = [Reply(429, {"message": "m"}, {"Retry-After": "3600"}, content_type=GATEWAY)]
    with server.manager() as manager, pytest.raises(Throttled):
        manager.get_job("a", "b")

    slept: list[float] = []
    server.replies = [Reply(503, {"message": "m"}, {"Retry-After": "2"}, content_type=GATEWAY)]
    with server.manager(retries=Retries(sleep=slept.append, random=lambda: 0.0)) as manager:
        assert manager.get_job("a", "b") == example_answer("get_job")
    assert slept == [2.0]


def test_retries_that_would_send_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        Retries(max_attempts=0)
    with pytest.raises(ValueError, match="base_seconds"):
        Retries(base_seconds=-1)


def test_an_answer_that_does_not_come_in_time_is_given_up(server: StandIn) -> None:
    server.replies = [Reply(200, {}, seconds=30)]
    not_answered = pytest.raises(NoAnswer, match=r"not answered within 0\.1 s")
    with server.manager(timeout_seconds=0.1) as manager, not_answered as raised:
        manager.create_webhook_secret("a")
    assert raised.value.may_have_acted is True


def test_a_read_that_is_not_answered_in_time_is_repeated(server: StandIn) -> None:
    server.replies = [Reply(200, {}, seconds=30)]
    with server.manager(timeout_seconds=5) as manager:
        assert manager.get_job("a", "b") == example_answer("get_job")
    assert len(server.received) >= 2  # more if an answer came too late


def test_no_message_tells_the_token_of_a_callback(server: StandIn) -> None:
    with server.manager(retries=Retries(max_attempts=1)) as manager:
        url = f"{manager.url}/callback/{TOKEN}"
        for reply in (FAILED, BROKEN, Reply(200, b"x", content_type="text/html")):
            server.replies = [reply]
            with pytest.raises(Exception, match="POST /callback/…") as raised:
                manager.call_back(url, {"status": "success"})
            assert TOKEN not in str(raised.value)
            assert raised.value.__cause__ is None
