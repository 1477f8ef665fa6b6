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


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(
            f"the key {json.dumps(twice[:_MAX_KEY_CHARACTERS])} stands more than once in an object"
        )
    return found
