"""The whole chain of an execution: those before it, up to the roots, and all that follow the roots."""

from collections.abc import Iterable
from typing import Any

from jobmanager.executions import store
from jobmanager.executions.record import Execution
from jobmanager.executions.view import execution_view

MAX_EXECUTIONS = 200
"""The most executions that an answer shows."""


def chain_of(record: Execution) -> dict[str, Any]:
    """Returns the chain of an execution as the API shows it. Reads each record consistently.

    - ``roots``: the execution_ids of the first executions, after which all others run
    - ``executions``: the executions, the first ones first, then those after them and so on
    - ``is_cut``: whether there are more than are shown

    Records that have expired are missing.
    """
    known = {record["execution_id"]: record}
    _read_along("parents", [record], known)
    roots = [each for each in known.values() if not any(name in known for name in _parents(each))]
    roots.sort(key=lambda each: each["execution_id"])
    ordered = {each["execution_id"]: each for each in roots}
    is_cut = not _read_along("children", roots, ordered, known)
    # Executions that their parents do not list, because these list as many as they may.
    left = [each for name, each in known.items() if name not in ordered]
    shown = [*ordered.values(), *left]
    return {
        "roots": [each["execution_id"] for each in roots],
        "executions": [execution_view(each, whole=False) for each in shown[:MAX_EXECUTIONS]],
        "is_cut": is_cut or len(shown) > MAX_EXECUTIONS,
    }


def _read_along(
    link: str, level: list[Execution], found: dict[str, Execution], known: dict[str, Execution] | None = None
) -> bool:
    """Adds to ``found`` what the executions of a level link to, and so on; False if there is too much."""
    while level:
        names = dict.fromkeys(name for each in level for name in _linked(each, link) if name not in found)
        room = MAX_EXECUTIONS - len(found)
        chosen = list(names)[:room]
        level = list(_read(chosen, known or {}))
        found |= {each["execution_id"]: each for each in level}
        if len(names) > room:
            return False
    return True


def _linked(record: Execution, link: str) -> list[str]:
    return _parents(record) if link == "parents" else record.get("children", [])


def _parents(record: Execution) -> list[str]:
    return [parent["execution_id"] for parent in record.get("parents", [])]


def _read(names: Iterable[str], known: dict[str, Execution]) -> Iterable[Execution]:
    for name in names:
        if (record := known.get(name) or store.find(name)) is not None:
            yield record
