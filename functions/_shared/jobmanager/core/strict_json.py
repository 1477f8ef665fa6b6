"""JSON as its standard has it, which Python's own reader widens."""

import json
import math
from typing import Any, NoReturn


def parse(text: str) -> Any:
    """The value of a JSON text; raises ValueError for what other parts of the system could not carry."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # JSON can escape half of a surrogate pair.
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number
