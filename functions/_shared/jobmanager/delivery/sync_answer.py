"""What a sync job's service answers its webhook with: the result itself."""

from typing import Any

from jobmanager.api.fields import size_error
from jobmanager.core.strict_json import parse
from jobmanager.executions.outcome import MOST_BYTES
from jobmanager.targets.webhook import MOST_ANSWER_BYTES, Answer


class AnswerInvalid(Exception):
    """The answer was 2xx, but its result cannot be kept; the message says what was expected."""


def result_of(answer: Answer) -> dict[str, Any]:
    """``state`` and ``summary``, as far as a JSON object has them; raises AnswerInvalid.

    An answer that is empty or no JSON object is a success without either. One that has them out of form is
    not taken for one: the next run would go on from an older state, and nobody would know.
    """
    if not answer.is_whole:
        raise AnswerInvalid("the answer broke off before its end")
    if answer.body is None:
        raise AnswerInvalid(f"the answer is larger than {MOST_ANSWER_BYTES} bytes")
    if not (answer.body and answer.media_type == "application/json"):
        return {}
    try:
        found = parse(answer.body.decode("utf-8"))
    except ValueError as error:
        raise AnswerInvalid(f"the answer is not JSON: {error}") from None
    if not isinstance(found, dict):
        return {}
    result = {name: found[name] for name in MOST_BYTES if found.get(name) is not None}
    for name, value in result.items():
        if not isinstance(value, str):
            raise AnswerInvalid(f"{name} in the answer: expected string")
        for too_large in size_error(f"/{name}", value, MOST_BYTES[name]):
            raise AnswerInvalid(f"{name} in the answer: {too_large['detail']}")
    return result
