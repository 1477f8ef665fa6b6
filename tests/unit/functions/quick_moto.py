"""Makes moto faster without changing its answers. Each patch says what moto wastes without it."""

import copy
from functools import cache
from typing import Any

import moto.core.models
import moto.core.responses
import moto.core.utils
import pytest
from botocore.loaders import JSONFileLoader
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser  # type: ignore[attr-defined]
from moto.dynamodb.parsing.validators import ActionCountValidator, OverlappingPathsValidator


def apply(patch: pytest.MonkeyPatch) -> None:
    """Patches moto, and botocore where moto makes it repeat work."""
    read_files_once(patch)
    find_methods_once(patch)
    find_node_types_once(patch)
    validate_only_whole_expressions(patch)
    copy_only_items_that_change(patch)
    look_for_present_types_only(patch)
    mock_botocore_only(patch)


def read_files_once(patch: pytest.MonkeyPatch) -> None:
    """Each new session reads botocore's large data files again."""
    read = cache(JSONFileLoader().load_file)
    patch.setattr(JSONFileLoader, "load_file", lambda loader, path: read(path))


def find_methods_once(patch: pytest.MonkeyPatch) -> None:
    """For each call, moto lists the methods of the class that answers it."""
    patch.setattr(
        moto.core.responses, "method_names_from_class", cache(moto.core.utils.method_names_from_class)
    )


def find_node_types_once(patch: pytest.MonkeyPatch) -> None:
    """For each node of an expression, moto asks the visitor again which types of nodes it processes."""

    def nodes_to_be_processed(visitor: Any) -> tuple[type, ...]:
        known: tuple[type, ...] | None = vars(visitor).get("_node_types")
        if known is None:
            known = visitor._node_types = tuple(visitor._processing_map())
        return known

    patch.setattr(DepthFirstTraverser, "nodes_to_be_processed", nodes_to_be_processed)


def validate_only_whole_expressions(patch: pytest.MonkeyPatch) -> None:
    """For each part of an expression, moto validates everything below the part again."""
    for validator in (ActionCountValidator, OverlappingPathsValidator):

        def process(visitor: Any, node: Any) -> Any:
            return DepthFirstTraverser.process(visitor, node) if node.parent is None else node

        patch.setattr(validator, "process", process)


def copy_only_items_that_change(patch: pytest.MonkeyPatch) -> None:
    """For each transaction, moto copies whole tables with all their items, in case the transaction fails."""

    def copy_table(table: Table, memo: dict[int, Any]) -> Table:
        copied = copy.copy(table)
        others = {name: value for name, value in vars(table).items() if name != "items"}
        vars(copied).update(copy.deepcopy(others, memo))
        copied.items = copy.copy(table.items)
        if table.has_range_key:
            copied.items.update({key: copy.copy(ranged) for key, ranged in table.items.items()})
        return copied

    update = DynamoDBBackend.update_item

    def update_copy(backend: DynamoDBBackend, table_name: str, key: Any, *rest: Any, **named: Any) -> Any:
        table = backend.tables.get(table_name)
        item = table and backend.get_item(table_name, key)
        if table and item and table.has_range_key:
            table.items[item.hash_key][item.range_key] = copy.deepcopy(item)
        elif table and item:
            table.items[item.hash_key] = copy.deepcopy(item)  # type: ignore[arg-type]
        return update(backend, table_name, key, *rest, **named)

    patch.setattr(Table, "__deepcopy__", copy_table, raising=False)
    patch.setattr(DynamoDBBackend, "update_item", update_copy)


def look_for_present_types_only(patch: pytest.MonkeyPatch) -> None:
    """In each attribute of an item, moto looks for ten types, each under several spellings."""
    serialize = ResponseSerializer._serialize_structure_member

    def serialize_member(serializer: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        is_absent = type(value) is dict and key not in value
        if not (is_absent and shape.parent.name == "AttributeValue"):
            serialize(serializer, serialized, value, shape, key)

    patch.setattr(ResponseSerializer, "_serialize_structure_member", serialize_member)


def mock_botocore_only(patch: pytest.MonkeyPatch) -> None:
    """Each time moto starts, it also mocks thousands of URLs for the package requests."""
    patch.setattr(moto.core.models, "RESPONSES_METHODS", [])
