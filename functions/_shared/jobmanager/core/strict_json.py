"""A parser of standard JSON. Python's own also accepts NaN, infinities, and half of a surrogate pair."""

import json
import math
from typing import Any, NoReturn


def parse(text: str) -> Any:
    """Parses a JSON text; raises ValueError for anything but standard JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
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
