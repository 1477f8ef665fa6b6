"""A parser of standard JSON.

Python's own also accepts NaN, infinities, half of a surrogate pair, and an object with the same key twice, of
which it keeps the last.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

_BYTE_ORDER_MARK = "\ufeff"
_MAX_KEY_CHARACTERS = 100


def parse(text: str) -> Any:
    """Parses a JSON text; raises ValueError for anything but standard JSON.

    RFC 8259 lets a parser ignore a byte order mark at the beginning: some programs write one.
    https://www.rfc-editor.org/rfc/rfc8259#section-8.1
    """
    try:
        value = json.loads(
            text.removeprefix(_BYTE_ORDER_MARK),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_with_unique_keys,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        words = _WORDS.get(error.msg.removesuffix(" at"), "expected JSON")
        raise ValueError(f"{words} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has too many digits") from None
        raise
    # A JSON escape can stand for half of a surrogate pair, which UTF-8 cannot encode.
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(r"a string holds half of a surrogate pair, such as \ud800") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


# What Python's parser says, and what it expected.
_WORDS = {
    "Expecting value": "expected a value",
    "Expecting property name enclosed in double quotes": "expected a name in double quotes",
    "Illegal trailing comma before end of object": "expected no comma before the end",
    "Illegal trailing comma before end of array": "expected no comma before the end",
    "Expecting ',' delimiter": "expected a comma or the end",
    "Expecting ':' delimiter": "expected a colon",
    "Extra data": "expected nothing after the value",
    "Unterminated string starting": "expected a closing quote for the string",
    "Invalid control character": "expected an escape for the control character",
    "Invalid \\escape": r"expected one of \" \\ \/ \b \f \n \r \t \u",
    "Invalid \\escape: ": r"expected one of \" \\ \/ \b \f \n \r \t \u",
    "Invalid \\uXXXX escape": "expected four hexadecimal digits",
}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is out of range")
    return number


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(
            f"the key {json.dumps(twice[:_MAX_KEY_CHARACTERS])} stands more than once in an object"
        )
    return found
