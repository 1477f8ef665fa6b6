"""The rehearsal speaks as the manager does: both are asked for the same, and must agree."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.api.fields import size_error
from jobmanager.callbacks import token as tokens
from jobmanager.callbacks.body import callback_errors
from jobmanager.core import names, strict_json
from jobmanager.delivery import notification as manager
from jobmanager.delivery.signature import webhook_headers
from jobmanager.delivery.sync_answer import AnswerInvalid, result_of
from jobmanager.executions.record import Execution
from jobmanager.targets import webhook as web
from sjm.rehearsal import callback_body, notification
from sjm.rehearsal import settings as rehearsed
from sjm.rehearsal.execution import Execution as Played
from sjm.rehearsal.scenes.odd_payload import MAX_BYTES, odd_text
from sjm.rehearsal.settings import Settings, Waits
from sjm.rehearsal.signature import signed_headers
from sjm.rehearsal.sync_answer import error_of
from sjm.rehearsal.webhook import HEADERS, Answer, post
from tests.unit.functions.target import Wire

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "functions/_shared/jobmanager/api/schemas/job.schema.json").read_text())
NOW = datetime(2026, 11, 23, 2, 0, 0, 812_000, UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def settings_of(is_async: bool, exclusive: bool) -> Settings:
    return Settings("http://x", "billing", "nightly", '{"ledger": 7}', is_async=is_async, exclusive=exclusive)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_notification_is_that_of_the_manager(is_async: bool, exclusive: bool) -> None:
    played = notification.notification(
        settings_of(is_async, exclusive),
        "an-execution",
        2,
        callback_url="https://manager/callback/token" if is_async else None,
        payload='{"ledger": 7}',
        last_success={},
        fencing_token=42 if exclusive else None,
        now=NOW,
    )
    record = {
        **played,
        "attempts": [{"service_invoked_at_ms": played["scheduled_time_ms"] + 812}],
    }
    for name in ("attempt", "callback_url", "heartbeat_interval_seconds", "last_successful_execution"):
        record.pop(name, None)
    real = manager.notification(cast(Execution, record), played.get("callback_url"), None)

    assert list(played.items()) == list(real.items())
    assert ("heartbeat_interval_seconds" in played) == is_async


@pytest.mark.parametrize("is_async", [False, True])
def test_a_test_notification_is_that_of_the_manager(is_async: bool) -> None:
    job = {"schedule": "cron(0 2 * * ? *)", "payload": '{"ledger": 7}', "exclusive": False, "ttl_seconds": 10}
    played = notification.test_notification(settings_of(is_async, exclusive=False))

    real = manager.test_notification("billing", "nightly", {**job, "async": is_async})
    assert list(played.items()) == list(real.items())


def test_the_whole_request_is_that_of_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALLOW_HTTP_TARGETS", "ALLOW_LOOPBACK_TARGETS", "ALLOW_PRIVATE_TARGETS"):
        monkeypatch.setenv(name, "true")
    signed = signed_headers([b"key"], "an-id", 1_795_399_200, b"{}")
    with Wire([b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"]) as wire:
        url = f"{wire.url}?ledger=7"
        web.post(url, b"{}", signed, 60)
        post(url, b"{}", signed, 60)

    real, played = (set(request.split(b"\r\n")) for request in wire.requests)
    assert played == real
    assert HEADERS == web._HEADERS


@given(st.lists(st.binary(min_size=1), max_size=3), st.integers(0, 2**40), st.binary())
@settings(deadline=None)
def test_signatures_are_those_of_the_manager(keys: list[bytes], at: int, content: bytes) -> None:
    real = webhook_headers(keys, "an-id-2", at * 1000, content)

    assert signed_headers(keys, "an-id-2", at, content) == real


@given(TEXTS)
@settings(deadline=None)
def test_bodies_are_encoded_as_the_manager_encodes_them(text: str) -> None:
    assert notification.encoded({"payload": text}) == manager.encoded({"payload": text})


def test_ids_and_urls_are_those_of_the_manager() -> None:
    urls: list[str] = []

    def register(token: str, _: Played) -> str:
        urls.append(token)
        return f"http://127.0.0.1/callback/{token}"

    execution = Played(settings_of(is_async=True, exclusive=False), register)
    first, again, second = (execution.notification(attempt) for attempt in (1, 1, 2))
    guid = names.job_guid("billing", "nightly")

    assert names.guid_of_execution(execution.id) == guid == first["job_guid"]
    assert [tokens.split_token(token)[0] for token in urls] == [execution.id] * 3
    assert [tokens.attempt_of(tokens.split_token(token)[1]) for token in urls] == [1, 1, 2]
    assert len({each["callback_url"] for each in (first, again, second)}) == 3
    record = {"execution_id": execution.id}
    assert notification.webhook_id(execution.id, 1) == manager.webhook_id(cast(Execution, record))
    of_second = cast(Execution, {**record, "attempts": [{}]})
    assert notification.webhook_id(execution.id, 2) == manager.webhook_id(of_second)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 105),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(["x" * 1025, "x" * 65_537, "\x00" * 600, "x" * 256, "x" * 257, "é" * 200]),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
    st.lists(st.integers(), max_size=2),
)
FIELDS = ["progress", "summary", "state", "error", "correlation_id", "extend_seconds", "other"]
STATUSES = st.sampled_from(["processing", "success", "fail", "done", None, 1])
BODIES = st.one_of(
    VALUES,
    st.builds(
        lambda status, fields: {"status": status, **fields},
        STATUSES,
        st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    ),
)


@given(BODIES)
@settings(max_examples=500, deadline=None)
def test_a_callback_is_refused_if_the_manager_refuses_it(body: Any) -> None:
    ours, theirs = callback_body.errors_of(body, 10), callback_errors(body, 10)

    assert bool(ours) == bool(theirs), (ours, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "",
        "[1",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        r'"\ud800"',
        "\ufeff{}",
        "[" * 100_000,
    ],
)
def test_json_is_read_as_the_manager_reads_it(text: str) -> None:
    def outcome(parse: Any, given: Any) -> Any:
        try:
            return parse(given)
        except ValueError:
            return ValueError

    assert outcome(callback_body.parse, text.encode()) == outcome(strict_json.parse, text)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "application/json", b'{"state": "1", "summary": "done"}'),
        (200, "text/plain", b"done"),
        (200, "text/plain", b'{"state": 1}'),
        (200, "application/json", b"done"),
        (200, "application/json", b""),
        (200, "application/json", b"[1]"),
        (200, "application/json", b'{"state": null}'),
        (200, "application/json", b'{"summary": "' + b"x" * 1025 + b'"}'),
        (204, "application/json", b"done"),
    ],
)
def test_the_answer_of_a_sync_job_is_read_as_the_manager_reads_it(
    status: int, kind: str, body: bytes
) -> None:
    headers = {"content-type": kind}
    try:
        result_of(web.Answer(status, headers, body))
        is_readable = True
    except AnswerInvalid:
        is_readable = False

    assert (error_of(Answer(status, headers, body)) == "") == is_readable


def test_the_odd_payload_is_the_largest_that_a_job_may_have() -> None:
    text = odd_text()

    assert len(text.encode()) == MAX_BYTES
    assert size_error("/payload", text, MAX_BYTES) == []
    assert size_error("/payload", f"{text}~", MAX_BYTES) != []
    assert re.search(r"32 KiB", (ROOT / "docs" / "api.md").read_text())


def test_the_waits_are_those_of_the_manager() -> None:
    assert rehearsed.ANSWER_WITHIN_SECONDS == manager.ANSWER_WITHIN_SECONDS
    assert SCHEMA["properties"]["ttl_seconds"]["minimum"] == rehearsed.SHORTEST_TTL_SECONDS
    assert Waits(300).heartbeat_seconds == 100
