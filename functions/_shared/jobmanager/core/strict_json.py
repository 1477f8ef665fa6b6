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
    # A JSON escape can stand for half of a surrogate pair, which UTF-8 cannot encode.
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is out of range")
    return number
