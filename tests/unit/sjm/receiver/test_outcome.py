"""Results have the form and the sizes that the manager takes."""

from typing import Any

import pytest

from jobmanager.callbacks.body import callback_errors
from sjm.receiver import HANDED_OVER, Failure, HandedOver, Success
from sjm.receiver.outcome import failure_of, result_of, shortened


def accepted(result: Success | Failure | HandedOver) -> dict[str, Any]:
    """The callback of a result, which the manager's own check takes."""
    assert not isinstance(result, HandedOver)
    body = result.callback()
    assert callback_errors(body, 300) == []
    return body


def test_a_result_has_what_was_said_and_nothing_else() -> None:
    assert accepted(Success()) == {"status": "success"}
    assert accepted(Success("4712", "closed", "id-1")) == {
        "status": "success",
        "state": "4712",
        "summary": "closed",
        "correlation_id": "id-1",
    }
    assert accepted(Failure("no ledger", "half", "id-1")) == {
        "status": "fail",
        "error": "no ledger",
        "summary": "half",
        "correlation_id": "id-1",
    }
    assert accepted(Failure({"name": "NoLedger", "ledger": 7}))["error"] == {"name": "NoLedger", "ledger": 7}
    assert (repr(Success(summary="x")), repr(Failure("y"))) == ("Success(summary='x')", "Failure('y')")


def test_long_texts_are_shortened_to_what_the_manager_takes() -> None:
    assert accepted(Success(summary="ü" * 5000))["summary"].endswith("ü…")
    assert len(accepted(Failure("ü" * 50_000))["error"].encode()) <= 32 * 1024
    assert accepted(Success(summary="\ud800"))["summary"] == "?"


@pytest.mark.parametrize(
    "text",
    ["\x00" * 20_000, '"\\\n' * 20_000, "\x1b[1mbold\x1b[0m" * 20_000, "\U0010ffff" * 20_000],
    ids=["zeros", "quotes", "colours", "large"],
)
def test_a_text_is_also_shortened_to_its_size_in_json(text: str) -> None:
    assert accepted(Success(summary=text))["summary"].endswith("…")
    assert accepted(Failure(text))["error"].endswith("…")
    assert accepted(failure_of(ValueError(text)))["error"]["message"].endswith("…")
    assert "trace" in accepted(failure_of(ValueError(text), with_trace=True))["error"]


def test_a_state_is_never_shortened() -> None:
    accepted(Success(state="x" * 65536))
    with pytest.raises(ValueError, match="at most 65536 bytes, got 65537"):
        Success(state="x" * 65537)
    with pytest.raises(ValueError, match="UTF-8"):
        Success(state="\udc00")
    accepted(Success(state='"' * 65536))
    with pytest.raises(ValueError, match="at most 131072 bytes as JSON, got 131076"):
        Success(state='"' * 65535 + "\0")  # a control character takes six bytes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Success(state=4712), "state: expected a string"),  # type: ignore[arg-type]
        (lambda: Success(summary=b"x"), "summary: expected a string"),  # type: ignore[arg-type]
        (lambda: Failure("x", correlation_id=7), "correlation_id: expected a string"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_string_is_refused(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


def test_what_the_manager_would_refuse_is_refused_in_the_handler() -> None:
    with pytest.raises(ValueError, match="at most 256 characters"):
        Success(correlation_id="x" * 257)
    with pytest.raises(ValueError, match="what JSON can hold"):
        Failure({"at": object()})
    with pytest.raises(ValueError, match="bytes of JSON"):
        Failure({"text": "x" * 40_000})


def test_a_handler_returns_a_result_a_summary_or_nothing() -> None:
    failure = Failure("x")

    assert result_of(failure) is failure
    assert accepted(result_of("closed")) == {"status": "success", "summary": "closed"}
    assert accepted(result_of(None)) == {"status": "success"}
    assert repr(result_of(HANDED_OVER)) == "HANDED_OVER"
    for other in (False, 0, {"state": "1"}):
        with pytest.raises(TypeError, match="expected Success, Failure, a summary, or nothing"):
            result_of(other)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_is_a_failure_with_its_type_and_message() -> None:
    assert accepted(failure_of(ValueError("no ledger")))["error"] == {
        "name": "ValueError",
        "message": "no ledger",
    }
    named = accepted(failure_of(Unspeakable("x" * 100_000)))["error"]
    assert named["name"].endswith("test_outcome.Unspeakable")
    assert named["message"] == ""
    accepted(failure_of(ValueError("\ud800" + "ü" * 100_000)))


def test_a_trace_is_told_only_if_asked_for() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("deep")

    with pytest.raises(ValueError, match="deep") as raised:
        deep(400)

    assert "trace" not in accepted(failure_of(raised.value))["error"]
    error = accepted(failure_of(raised.value, with_trace=True))["error"]
    assert error["trace"].endswith("ValueError: deep\n")
    assert len(error["trace"].encode()) <= 8 * 1024


def test_a_text_is_shortened_between_characters() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("üüü", 5) == "ü…"
    assert shortened("üüü", 5, keep_end=True) == "…ü"
