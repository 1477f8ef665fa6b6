"""The results of a job, in the form of the callback that tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# The limits of the manager, in bytes of UTF-8, see "Call back" in docs/api.md. As JSON, a text may have twice
# as many: control characters take six bytes each.
MAX_STATE_BYTES: Final = 64 * 1024
MAX_SUMMARY_BYTES: Final = 1024
MAX_CORRELATION_ID_CHARACTERS: Final = 256
_MAX_ERROR_BYTES: Final = 32 * 1024
# Together at most 32 KiB as JSON, with the name.
_MAX_MESSAGE_BYTES: Final = 7 * 1024
_MAX_TRACE_BYTES: Final = 8 * 1024


class Success:
    """The job is done. The next run gets ``state`` and continues from there.

    ``state`` has at most 64 KiB and is never shortened: a larger one raises ValueError. ``summary`` is
    shortened to 1 KiB. ``correlation_id`` has at most 256 characters.
    """

    def __init__(
        self, state: str | None = None, summary: str | None = None, correlation_id: str | None = None
    ) -> None:
        _check_state(state)
        _check_correlation_id(correlation_id)
        self.state = state
        self.summary = _shortened_summary(summary)
        self.correlation_id = correlation_id

    def callback(self) -> dict[str, Any]:
        """The body of the callback."""
        return _present(
            status="success", state=self.state, summary=self.summary, correlation_id=self.correlation_id
        )

    def __repr__(self) -> str:
        return f"Success(summary={self.summary!r})"


class Failure:
    """The job failed. ``error`` is a sentence, or a JSON object with a ``name``, and has at most 32 KiB.

    A sentence that is longer is shortened. A larger object raises ValueError.
    """

    def __init__(
        self, error: str | Mapping[str, Any], summary: str | None = None, correlation_id: str | None = None
    ) -> None:
        _check_correlation_id(correlation_id)
        if not isinstance(error, str):
            error = dict(error)
            _check_error(error)
        self.error = shortened(error, _MAX_ERROR_BYTES) if isinstance(error, str) else error
        self.summary = _shortened_summary(summary)
        self.correlation_id = correlation_id

    def callback(self) -> dict[str, Any]:
        """The body of the callback."""
        return _present(
            status="fail", error=self.error, summary=self.summary, correlation_id=self.correlation_id
        )

    def __repr__(self) -> str:
        return f"Failure({self.error!r})"


class HandedOver:
    """Somebody else goes on with the work, and reports the result to the notification's ``callback_url``.

    The receiver sends no result, and no more heartbeats. Return :data:`HANDED_OVER`.
    """

    def __repr__(self) -> str:
        return "HANDED_OVER"


HANDED_OVER: Final = HandedOver()


def result_of(returned: object) -> Success | Failure | HandedOver:
    """The result that a handler returned. None is a success, a string is a success with this summary.

    Raises TypeError for everything else, so that a handler that returns False is not taken for done.
    """
    if isinstance(returned, Success | Failure | HandedOver):
        return returned
    if returned is None or isinstance(returned, str):
        return Success(summary=returned)
    raise TypeError(
        f"the handler returned {type(returned).__name__}: expected Success, Failure, a summary, or nothing"
    )


def failure_of(error: BaseException, *, with_trace: bool = False) -> Failure:
    """The failure that an exception means: its type is the name by which the manager shows it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    described = {
        "name": shortened(name, 256),
        "message": shortened(_text_of(error), _MAX_MESSAGE_BYTES),
    }
    if with_trace:
        import traceback

        lines = "".join(traceback.format_exception(error))
        described["trace"] = shortened(lines, _MAX_TRACE_BYTES, keep_end=True)
    return Failure(described)


def shortened(text: str, max_bytes: int, *, keep_end: bool = False) -> str:
    """The text in at most that many bytes of UTF-8, and twice as many as JSON.

    Characters that UTF-8 does not have become ``?``.
    """
    text = text.encode("utf-8", "replace").decode()
    if _fits(text, max_bytes):
        return text
    most, least = min(len(text), max_bytes), 0
    while least < most:  # how many characters fit
        middle = (least + most + 1) // 2
        if _fits(_with_mark(text, middle, keep_end=keep_end), max_bytes):
            least = middle
        else:
            most = middle - 1
    return _with_mark(text, least, keep_end=keep_end)


def _with_mark(text: str, characters: int, *, keep_end: bool) -> str:
    return "…" + text[len(text) - characters :] if keep_end else text[:characters] + "…"


def _fits(text: str, max_bytes: int) -> bool:
    return len(text.encode()) <= max_bytes and _json_bytes(text) <= 2 * max_bytes


def _json_bytes(text: str) -> int:
    """How many bytes a text has as JSON, without its quotation marks."""
    import json

    return len(json.dumps(text, ensure_ascii=False).encode()) - len('""')


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception of the service's own, which cannot be shown
        return ""


def _shortened_summary(summary: str | None) -> str | None:
    if summary is None:
        return None
    if not isinstance(summary, str):
        raise TypeError(f"summary: expected a string, got {type(summary).__name__}")
    return shortened(summary, MAX_SUMMARY_BYTES)


def _check_state(state: str | None) -> None:
    if state is None:
        return
    if not isinstance(state, str):
        raise TypeError(f"state: expected a string, got {type(state).__name__}")
    try:
        size = len(state.encode())
    except UnicodeEncodeError:
        raise ValueError("state: it has a character that UTF-8 does not have") from None
    if size > MAX_STATE_BYTES:
        raise ValueError(f"state: expected at most {MAX_STATE_BYTES} bytes, got {size}")
    if (size := _json_bytes(state)) > 2 * MAX_STATE_BYTES:
        raise ValueError(f"state: expected at most {2 * MAX_STATE_BYTES} bytes as JSON, got {size}")


def _check_correlation_id(correlation_id: str | None) -> None:
    if correlation_id is None:
        return
    if not isinstance(correlation_id, str):
        raise TypeError(f"correlation_id: expected a string, got {type(correlation_id).__name__}")
    if len(correlation_id) > MAX_CORRELATION_ID_CHARACTERS:
        raise ValueError(f"correlation_id: expected at most {MAX_CORRELATION_ID_CHARACTERS} characters")


def _check_error(error: dict[str, Any]) -> None:
    import json

    try:
        size = len(json.dumps(error, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"error: expected what JSON can hold: {wrong}") from None
    if size > _MAX_ERROR_BYTES:
        raise ValueError(f"error: expected at most {_MAX_ERROR_BYTES} bytes of JSON, got {size}")


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
