"""Makes moto faster without changing its answers. Each patch says what moto wastes without it."""

import copy
import pickle
import urllib.parse
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.useragent
import moto.backend_index
import moto.core.models
import moto.core.responses
import moto.core.utils
import moto.dynamodb.parsing.validators
import pytest
from botocore.loaders import JSONFileLoader
from botocore.signers import RequestSigner
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node  # type: ignore[attr-defined]
from moto.dynamodb.parsing.expressions import UpdateExpressionParser  # type: ignore[attr-defined]
from moto.dynamodb.parsing.validators import ActionCountValidator, OverlappingPathsValidator


def apply(patch: pytest.MonkeyPatch) -> None:
    """Patches moto, and botocore where moto makes it repeat work."""
    read_files_once(patch)
    find_methods_once(patch)
    compare_likely_services_first(patch)
    parse_expressions_once(patch)
    find_node_types_once(patch)
    validate_only_whole_expressions(patch)
    copy_only_items_that_change(patch)
    share_scalars(patch)
    read_json_as_json_only(patch)
    look_for_present_types_only(patch)
    describe_botocore_once(patch)
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


def compare_likely_services_first(patch: pytest.MonkeyPatch) -> None:
    """For each request, moto compares the URL with the patterns of one service after the other."""
    likely = {"dynamodb", "sns", "kms", "scheduler", "events", "sqs", "lambda"}
    ordered = sorted(moto.backend_index.backend_url_patterns, key=lambda each: each[0] not in likely)
    patch.setattr(moto.backend_index, "backend_url_patterns", ordered)


def parse_expressions_once(patch: pytest.MonkeyPatch) -> None:
    """For each call, moto parses its expressions again, and copies the parsed ones node by node."""
    patch.setattr(UpdateExpressionParser, "make", staticmethod(cache(UpdateExpressionParser.make)))

    def copied(expression: Any) -> Any:
        if "_pickled" not in vars(expression):
            expression._pickled = pickle.dumps(expression, pickle.HIGHEST_PROTOCOL)
        return pickle.loads(expression._pickled)

    patch.setattr(moto.dynamodb.parsing.validators, "deepcopy", copied)

    split = ConditionExpressionParser._lex_condition_expression
    known: dict[str | None, tuple[Any, ...]] = {}

    def nodes_of(parser: ConditionExpressionParser) -> deque[Any]:
        expression = parser.condition_expression
        if expression not in known:
            known[expression] = tuple(split(parser))
        return deque(known[expression])

    patch.setattr(ConditionExpressionParser, "_lex_condition_expression", nodes_of)


def find_node_types_once(patch: pytest.MonkeyPatch) -> None:
    """For each node of an expression, moto asks anew whether a visitor processes nodes of this type."""
    types: dict[type, tuple[type, ...]] = {}

    @cache
    def is_processed(visitor: Any, node: Any) -> bool:
        return issubclass(node, types[visitor])

    @cache
    def is_node(kind: Any) -> bool:
        return issubclass(kind, Node)

    type_of: Callable[[Any], Any] = type

    def traverse(visitor: Any, root: Any) -> Any:
        kind = type_of(visitor)
        if kind not in types:
            types[kind] = tuple(visitor._processing_map())
        looks_ahead = kind.pre_processing_of_child is not DepthFirstTraverser.pre_processing_of_child

        def walk(node: Any, number: int) -> Any:
            for place, child in enumerate(node.children or ()):
                if looks_ahead:
                    visitor.pre_processing_of_child(node, place)
                if is_node(type_of(child)):
                    walk(child, place)
            if not is_processed(kind, type_of(node)):
                return node
            parent = node.parent
            processed = visitor.process(node)
            processed.parent = parent
            if parent:
                parent.children[number] = processed
            return processed

        return walk(root, -1)

    patch.setattr(DepthFirstTraverser, "traverse", traverse)


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


def share_scalars(patch: pytest.MonkeyPatch) -> None:
    """moto copies each value of an item, also texts and numbers, which it replaces and never changes."""

    def copied(value: DynamoType, memo: dict[int, Any]) -> DynamoType:
        if value.type in {"S", "N", "B", "BOOL", "NULL"}:
            return value
        made = DynamoType.__new__(DynamoType)
        vars(made).update(copy.deepcopy(vars(value), memo))
        return made

    patch.setattr(DynamoType, "__deepcopy__", copied, raising=False)


def read_json_as_json_only(patch: pytest.MonkeyPatch) -> None:
    """moto first reads each body as a form, even if it is JSON."""
    parse = urllib.parse.parse_qsl

    def parse_form(body: str, **options: Any) -> list[tuple[str, str]]:
        return [(body, "")] if body.startswith("{") else parse(body, **options)

    patch.setattr("moto.core.responses.parse_qsl", parse_form)


def send_without_signatures(patch: pytest.MonkeyPatch) -> None:
    """botocore signs each request. moto reads no signature. Only for tests whose calls all go to moto."""
    patch.setattr(RequestSigner, "sign", lambda *arguments, **named: None)


def describe_botocore_once(patch: pytest.MonkeyPatch) -> None:
    """For each request, botocore builds a header that describes it."""
    clean = cache(botocore.useragent.sanitize_user_agent_string_component)
    patch.setattr(botocore.useragent, "sanitize_user_agent_string_component", clean)


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
