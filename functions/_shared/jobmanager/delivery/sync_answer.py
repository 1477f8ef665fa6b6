"""Reads the result of a sync job from its service's answer to the webhook."""

from typing import Any

from jobmanager.api.fields import size_error
from jobmanager.core.strict_json import parse
from jobmanager.executions.outcome import MAX_BYTES
from jobmanager.targets.webhook import MAX_ANSWER_BYTES, Answer


class AnswerInvalid(Exception):
    """The answer was 2xx, but its result cannot be stored; the message says what was expected."""


def result_of(answer: Answer) -> dict[str, Any]:
    """Returns the ``state`` and ``summary`` of an answer, if it has them; raises AnswerInvalid.

    An answer that is empty, or not a JSON object, is a success without both. An answer with an invalid
    ``state`` or ``summary`` is not a success: the next run would continue from an older state unnoticed.
    """
    if not answer.is_whole:
        raise AnswerInvalid("the answer broke off before its end")
    if answer.body is None:
        raise AnswerInvalid(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    if not (answer.body and answer.media_type == "application/json"):
        return {}
    try:
        found = parse(answer.body.decode("utf-8"))
    except ValueError as error:
        raise AnswerInvalid(f"the answer is not JSON: {error}") from None
    if not isinstance(found, dict):
        return {}
    result = {name: found[name] for name in MAX_BYTES if found.get(name) is not None}
    for name, value in result.items():
        if not isinstance(value, str):
            raise AnswerInvalid(f"{name} in the answer: expected string")
        for too_large in size_error(f"/{name}", value, MAX_BYTES[name]):
            raise AnswerInvalid(f"{name} in the answer: {too_large['detail']}")
    return result
