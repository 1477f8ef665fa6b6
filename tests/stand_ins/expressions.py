"""DynamoDB's expressions, as far as the code uses them. Anything else is Unsupported.

An expression is compiled once, and kept by its text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from tests.stand_ins.errors import Unsupported, client_error

type Value = dict[str, Any]
"""An attribute value as the API has it: ``{"S": "text"}``."""
type Item = Mapping[str, Value]
type Names = Mapping[str, str]
type Values = Mapping[str, Value]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),.+-]|[:#]?[A-Za-z_][A-Za-z0-9_]*|\d+)")
_KEY_CONDITION = re.compile(
    r"(#?\w+) = :\w+"
    r"(?: AND (?:(#?\w+) (?:(?:=|<|<=|>|>=) :\w+|BETWEEN :\w+ AND :\w+)|begins_with\((#?\w+), :\w+\)))?"
)
_COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")
_RESERVED = frozenset(word.upper() for word in ReservedKeywords.get_reserved_keywords())


def invalid(message: str) -> Exception:
    """The refusal of a request that is not valid."""
    return client_error("ValidationException", message)


class Scope(NamedTuple):
    """What an expression is about: an item, and what the request says of placeholders."""

    item: Item
    names: Names
    values: Values

    def value(self, placeholder: str) -> Value:
        """The value of a placeholder."""
        if placeholder not in self.values:
            raise invalid(f"An expression attribute value used in expression is not defined: {placeholder}")
        return self.values[placeholder]

    def name(self, part: str) -> str:
        """The name of an attribute, of a placeholder too."""
        if not part.startswith("#"):
            return part
        if part not in self.names:
            raise invalid(f"An expression attribute name used in the document path is not defined: {part}")
        return self.names[part]

    def at(self, path: tuple[str, ...]) -> Value | None:
        """What stands in the item at a path."""
        found = self.item.get(self.name(path[0]))
        for part in path[1:]:
            if found is None or "M" not in found:
                return None
            found = found["M"].get(self.name(part))
        return found


type Operand = Callable[[Scope], Value | None]
type Condition = Callable[[Scope], bool]
type Action = Callable[[Scope, dict[str, Value]], None]
"""Changes the attributes that are given as the second, by what the item was before."""


@dataclass(frozen=True)
class Compiled[Part]:
    """An expression, and the placeholders in it."""

    part: Part
    used: frozenset[str]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        self.used: set[str] = set()
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise Unsupported(f"{text[at:]!r} in the expression {text!r}")
            self.tokens.append(match[1])
            at = match.end()
        self.used |= {token for token in self.tokens if token[0] in ":#"}
        self.tokens.append("")
        self.at = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at]

    def take(self, *expected: str) -> str:
        token = self.next
        if expected and token.upper() not in expected:
            raise Unsupported(f"{token!r} where {expected} was expected, in the expression {self.text!r}")
        self.at += 1
        return token

    def takes(self, token: str) -> bool:
        if self.next.upper() == token:
            self.at += 1
            return True
        return False

    def list_of[T](self, part: Callable[[], T]) -> list[T]:
        found = [part()]
        while self.takes(","):
            found.append(part())
        return found

    # --- conditions ---------------------------------------------------------------------------------------

    def condition(self) -> Condition:
        parts = [self.conjunction()]
        while self.takes("OR"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else lambda scope: any(part(scope) for part in parts)

    def conjunction(self) -> Condition:
        parts = [self.negation()]
        while self.takes("AND"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else lambda scope: all(part(scope) for part in parts)

    def negation(self) -> Condition:
        if self.takes("NOT"):
            part = self.negation()
            return lambda scope: not part(scope)
        if self.takes("("):
            part = self.condition()
            self.take(")")
            return part
        return self.predicate()

    def predicate(self) -> Condition:
        if self.next in ("attribute_exists", "attribute_not_exists") and self.tokens[self.at + 1] == "(":
            wanted = self.take() == "attribute_exists"
            path = self.in_parentheses(self.path)
            return lambda scope: (scope.at(path) is not None) == wanted
        if self.next in ("contains", "begins_with") and self.tokens[self.at + 1] == "(":
            function = self.take()
            self.take("(")
            whole, _, part = self.operand(), self.take(","), self.operand()
            self.take(")")
            test = _contains if function == "contains" else _begins_with
            return lambda scope: test(whole(scope), part(scope))
        return self.comparison()

    def comparison(self) -> Condition:
        left = self.operand()
        if self.takes("BETWEEN"):
            low, _, high = self.operand(), self.take("AND"), self.operand()
            return lambda scope: (
                _compare(">=", left(scope), low(scope)) and _compare("<=", left(scope), high(scope))
            )
        if self.takes("IN"):
            options = self.in_parentheses(lambda: self.list_of(self.operand))
            return lambda scope: any(_compare("=", left(scope), option(scope)) for option in options)
        comparator = self.take(*_COMPARATORS)
        right = self.operand()
        return lambda scope: _compare(comparator, left(scope), right(scope))

    def in_parentheses[T](self, part: Callable[[], T]) -> T:
        self.take("(")
        found = part()
        self.take(")")
        return found

    # --- operands -----------------------------------------------------------------------------------------

    def path(self) -> tuple[str, ...]:
        parts = [self.attribute()]
        while self.takes("."):
            parts.append(self.attribute())
        return tuple(parts)

    def attribute(self) -> str:
        token = self.take()
        if not re.fullmatch(r"#?[A-Za-z_][A-Za-z0-9_]*", token):
            raise Unsupported(f"{token!r} as a name, in the expression {self.text!r}")
        if token.upper() in _RESERVED:
            raise invalid(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        return token

    def operand(self) -> Operand:
        if self.next.startswith(":"):
            placeholder = self.take()
            return lambda scope: scope.value(placeholder)
        if self.next == "size" and self.tokens[self.at + 1] == "(":
            self.take()
            path = self.in_parentheses(self.path)
            return lambda scope: _size(scope.at(path))
        path = self.path()
        return lambda scope: scope.at(path)

    # --- updates ------------------------------------------------------------------------------------------

    def update(self) -> list[tuple[str, Action]]:
        actions: list[tuple[str, Action]] = []
        clauses: list[str] = []
        while self.next:
            clause = self.take("SET", "REMOVE", "ADD", "DELETE").upper()
            if clause in clauses:
                raise invalid(f'The "{clause}" section can only be used once in an update expression')
            clauses.append(clause)
            parts = {
                "SET": self.assignment,
                "REMOVE": self.removal,
                "ADD": self.addition,
                "DELETE": self.subtraction,
            }
            actions += self.list_of(parts[clause])
        if not actions:
            raise invalid("The expression can not be empty")
        return actions

    def top_level(self) -> str:
        (name, *more) = self.path()
        if more:
            raise Unsupported(f"a change below an attribute, in the expression {self.text!r}")
        return name

    def assignment(self) -> tuple[str, Action]:
        name = self.top_level()
        self.take("=")
        value = self.new_value()

        def assign(scope: Scope, changed: dict[str, Value]) -> None:
            found = value(scope)
            if found is None:
                raise invalid(
                    "The provided expression refers to an attribute that does not exist in the item"
                )
            changed[scope.name(name)] = found

        return name, assign

    def new_value(self) -> Operand:
        if self.next in ("if_not_exists", "list_append") and self.tokens[self.at + 1] == "(":
            function = self.take()
            self.take("(")
            if function == "if_not_exists":
                path, _, other = self.path(), self.take(","), self.new_value()
                self.take(")")

                def first(scope: Scope) -> Value | None:
                    return found if (found := scope.at(path)) is not None else other(scope)

                return first
            one, _, two = self.new_value(), self.take(","), self.new_value()
            self.take(")")
            return lambda scope: _appended(one(scope), two(scope))
        found = self.operand()
        if self.next in ("+", "-"):
            raise Unsupported(f"arithmetic, in the expression {self.text!r}")
        return found

    def removal(self) -> tuple[str, Action]:
        name = self.top_level()

        def remove(scope: Scope, changed: dict[str, Value]) -> None:
            changed.pop(scope.name(name), None)

        return name, remove

    def addition(self) -> tuple[str, Action]:
        name, value = self.top_level(), self.operand()

        def add(scope: Scope, changed: dict[str, Value]) -> None:
            old, more = scope.item.get(scope.name(name)), value(scope)
            if more is not None and "SS" in more:
                changed[scope.name(name)] = {"SS": sorted({*_members(old), *more["SS"]})}
                return
            if more is None or "N" not in more:
                raise Unsupported(f"ADD of what is no number or set, in the expression {self.text!r}")
            if old is not None and "N" not in old:
                raise invalid("An operand in the update expression has an incorrect data type")
            total = Decimal(old["N"] if old else 0) + Decimal(more["N"])
            changed[scope.name(name)] = {"N": _number(total)}

        return name, add

    def subtraction(self) -> tuple[str, Action]:
        name, value = self.top_level(), self.operand()

        def subtract(scope: Scope, changed: dict[str, Value]) -> None:
            old, less = scope.item.get(scope.name(name)), value(scope)
            if less is None or "SS" not in less:
                raise Unsupported(f"DELETE of what is no set, in the expression {self.text!r}")
            left = sorted({*_members(old)} - {*less["SS"]})
            if left:
                changed[scope.name(name)] = {"SS": left}
            else:  # DynamoDB keeps no empty set
                changed.pop(scope.name(name), None)

        return name, subtract


@cache
def condition(text: str) -> Compiled[Condition]:
    """A condition, a filter, or a key condition."""
    parser = _Parser(text)
    part = parser.condition()
    parser.take("")
    return Compiled(part, frozenset(parser.used))


def check_key_condition(text: str, names: Names, key: tuple[str, ...]) -> None:
    """Refuses a key condition that DynamoDB does not take for this key."""
    match = _KEY_CONDITION.fullmatch(text.strip())
    if match is None:
        raise Unsupported(f"the key condition {text!r}")
    hashed, ranged = (names.get(name, name) if name else None for name in (match[1], match[2] or match[3]))
    if hashed != key[0] or ranged not in (None, *key[1:]):
        raise invalid("Query condition missed key schema element")


@cache
def update(text: str) -> Compiled[list[tuple[str, Action]]]:
    """An update: the names of the attributes that it changes, and how."""
    parser = _Parser(text)
    part = parser.update()
    return Compiled(part, frozenset(parser.used))


@cache
def projection(text: str) -> Compiled[list[str]]:
    """A projection on whole attributes."""
    parser = _Parser(text)
    part = parser.list_of(parser.top_level)
    parser.take("")
    return Compiled(part, frozenset(parser.used))


def check_placeholders(names: Names, values: Values, *expressions: Compiled[Any]) -> None:
    """Refuses placeholders that no expression uses, and those that are used and are not there."""
    used = frozenset[str]().union(*[each.used for each in expressions])
    if names.keys() | values.keys() == used:
        return
    for kind, given in (("names", names), ("values", values)):
        if unused := sorted(set(given) - used):
            raise invalid(
                f"Value provided in ExpressionAttribute{kind.capitalize()} unused in expressions:"
                f" keys: {{{', '.join(unused)}}}"
            )
    if missing := sorted(used - set(names) - set(values)):
        raise invalid(f"An expression attribute used in an expression is not defined: {missing[0]}")


def equal(one: Value, other: Value) -> bool:
    """Whether two values are equal: numbers by their value."""
    ((kind, left),) = one.items()
    if kind not in other:
        return False
    right = other[kind]
    if kind == "N":
        return left == right or Decimal(left) == Decimal(right)
    if kind == "L":
        return len(left) == len(right) and all(map(equal, left, right))
    if kind == "M":
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return bool(left == right)


def sort_key(value: Value) -> Any:
    """What values of one type are sorted by: texts by their bytes."""
    ((kind, inner),) = value.items()
    if kind == "N":
        return Decimal(inner)
    if kind == "S":
        return inner.encode()
    raise Unsupported(f"an order of {kind}")


def bytes_of(item: Item) -> int:
    """The size of an item. Numbers may count a few bytes less than in DynamoDB.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _bytes_of_value(value) for name, value in item.items())


def _bytes_of_value(value: Value) -> int:
    ((kind, inner),) = value.items()
    if kind in ("S", "N"):
        return len(inner.encode()) if kind == "S" else len(inner) // 2 + 1
    if kind == "M":
        return 3 + len(inner) + bytes_of(inner)
    if kind == "L":
        return 3 + sum(1 + _bytes_of_value(each) for each in inner)
    if kind == "SS" and inner:
        return sum(len(each.encode()) for each in inner)
    if kind in ("BOOL", "NULL"):
        return 1
    raise Unsupported(f"an attribute of the type {kind}, {inner!r}")


def _compare(comparator: str, one: Value | None, other: Value | None) -> bool:
    if comparator == "<>":
        if one is None or other is None:
            raise Unsupported("<> with an attribute that is not there: say what you mean")
        return not equal(one, other)
    if one is None or other is None:
        return False
    if comparator == "=":
        return equal(one, other)
    if one.keys() != other.keys():
        return False
    left, right = sort_key(one), sort_key(other)
    if comparator == "<":
        return bool(left < right)
    if comparator == "<=":
        return bool(left <= right)
    return bool(left > right if comparator == ">" else left >= right)


def _contains(whole: Value | None, part: Value | None) -> bool:
    if whole is None or part is None:
        return False
    if "L" in whole:
        return any(equal(each, part) for each in whole["L"])
    if "S" in part and ("S" in whole or "SS" in whole):
        return part["S"] in (whole["S"] if "S" in whole else whole["SS"])
    raise Unsupported(f"contains of {set(whole)} and {set(part)}")


def _begins_with(whole: Value | None, part: Value | None) -> bool:
    return whole is not None and part is not None and str(whole.get("S", "")).startswith(part["S"])


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    ((kind, inner),) = value.items()
    if kind not in ("L", "M", "SS"):
        raise Unsupported(f"the size of {kind}")
    return {"N": str(len(inner))}


def _members(value: Value | None) -> list[str]:
    """The members of a set of texts, which may be absent."""
    if value is None:
        return []
    if "SS" not in value:
        raise invalid("An operand in the update expression has an incorrect data type")
    return list(value["SS"])


def _appended(one: Value | None, two: Value | None) -> Value | None:
    if one is None or two is None:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    if "L" not in one or "L" not in two:
        raise invalid("An operand in the update expression has an incorrect data type")
    return {"L": [*one["L"], *two["L"]]}


def _number(value: Decimal) -> str:
    whole = value.to_integral_value()
    return str(int(whole)) if value == whole else str(value.normalize())
