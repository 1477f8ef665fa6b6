"""DynamoDB's attribute values and plain values: what jobmanager.aws.items does, several times as fast.

A simulated run converts hundreds of items. test_values.py holds the two to be equal.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tests.stand_ins.errors import Unsupported


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts plain values to attribute values; leaves out those that are None."""
    return {name: _value(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Converts attribute values to plain values."""
    return {name: _plain(value) for name, value in item.items()}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, float):
        return {"N": str(Decimal(str(value)))}
    if isinstance(value, Mapping):
        return {"M": {name: _value(inner) for name, inner in value.items()}}
    if isinstance(value, list):
        return {"L": [_value(inner) for inner in value]}
    if isinstance(value, set) and value and all(isinstance(inner, str) for inner in value):
        return {"SS": sorted(value)}
    raise Unsupported(f"a value of the type {type(value).__name__}")


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind in ("S", "BOOL"):
        return inner
    if kind == "N":
        if inner.isdigit():
            return int(inner)
        number = Decimal(inner)
        return int(number) if number == number.to_integral_value() else float(number)
    if kind == "M":
        return {name: _plain(each) for name, each in inner.items()}
    if kind == "L":
        return [_plain(each) for each in inner]
    if kind == "SS":
        return set(inner)
    if kind == "NULL":
        return None
    raise Unsupported(f"an attribute of the type {kind}")
