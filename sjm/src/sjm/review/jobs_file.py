"""Reads jobs.yaml: jobs by ``service/job``, like Terraform's variable ``jobs``. Needs PyYAML.

::

    jobs:
      billing/nightly:
        schedule: cron(0 2 * * ? *)
        invocation_type: http
        invocation_target: https://billing.example/jobs/nightly
        payload: {ledger: 7}      # an object or a list becomes JSON text

A value without quotes is read as JSON reads it: ``true``, ``false``, ``null`` and numbers. All else is text.
So ``on`` is a text here, although YAML 1.1 makes it true. Anchors, ``<<`` and several documents work.
"""

import json
import math
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sjm.review.fields import errors_of
from sjm.review.shown import printable, shortened

MAX_BYTES = 5 * 1024 * 1024
MAX_JOBS = 10_000
MAX_ERRORS = 100
_MAX_DEPTH = 40
# Aliases can make a small file large: https://en.wikipedia.org/wiki/Billion_laughs_attack
_MAX_VALUES = 500_000
_MAX_DIGITS = 400

_PART = "[A-Za-z0-9_.-]{1,64}"
_KEY = re.compile(f"({_PART})/({_PART})")
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_SURPRISES = re.compile(r"yes|no|on|off|y|n", re.IGNORECASE)


@dataclass(frozen=True)
class FileJob:
    """A job of a file, with the line of its name and those of its fields."""

    service_name: str
    job_name: str
    job: dict[str, Any]
    file: str
    line: int
    lines: dict[str, int]

    @property
    def key(self) -> str:
        """The job's name, as in the file."""
        return f"{self.service_name}/{self.job_name}"

    def error(self, pointer: str, detail: str) -> "FileError":
        """An error in a field of this job."""
        line = self.lines.get(pointer.split("/")[1] if pointer.startswith("/") else "", self.line)
        return FileError(self.file, line, f"{self.key}: {pointer or '/'}: {detail}")


@dataclass(frozen=True)
class FileError:
    """What is wrong, and in which line; 0 is the whole file."""

    file: str
    line: int
    detail: str

    def __str__(self) -> str:
        """As compilers write it, so that editors find the place."""
        at = f"{self.file}:{self.line}" if self.line else self.file
        return printable(f"{at}: {self.detail}")


class WrongFile(Exception):
    """A file is not one of jobs. ``errors`` is everything that is wrong, at most ``MAX_ERRORS``."""

    def __init__(self, errors: list[FileError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class _Loader(yaml.SafeLoader):
    """Reads scalars as JSON does."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # PyYAML's own is of the class, too


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("int", r"-?(0|[1-9][0-9]*)", [*"-0123456789"]),
    ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", [*"-0123456789"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_jobs(content: bytes, file: str) -> list[FileJob]:
    """The jobs of a file, in its order. Raises WrongFile with all that is wrong."""
    return list(_File(file).jobs(content))


class _File:
    """One file that is read. Collects its errors."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._errors: list[FileError] = []
        self._values = 0

    def jobs(self, content: bytes) -> list[FileJob]:
        """All jobs of the file. Raises WrongFile."""
        try:
            found = [job for document in self._documents(content) for job in self._of_document(document)]
            self._refuse_twice(found)
            if not found and not self._errors:
                self._error(0, "no job found: expected jobs, with names such as billing/nightly")
        except _TooMuch as error:
            self._errors.append(FileError(self._file, error.line, str(error)))
            found = []
        except RecursionError:
            self._errors.append(FileError(self._file, 0, "an alias leads to itself"))
            found = []
        if self._errors:
            raise WrongFile(sorted(self._errors[:MAX_ERRORS], key=lambda each: each.line))
        return found

    def _documents(self, content: bytes) -> list[Node]:
        if len(content) > MAX_BYTES:
            raise _TooMuch(0, f"expected at most {MAX_BYTES} bytes, not {len(content)}")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise _TooMuch(line, "expected UTF-8") from None
        try:
            _refuse_depth(text)
            return [node for node in yaml.compose_all(text, Loader=_Loader) if not _is_empty(node)]
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _TooMuch(
                mark.line + 1 if mark else 0,
                f"not valid YAML: {': '.join(each for each in (error.context, error.problem) if each)}",
            ) from None
        except yaml.YAMLError as error:  # a character that YAML does not allow
            raise _TooMuch(_line_of(error, text), f"not valid YAML: {str(error).splitlines()[0]}") from None

    def _of_document(self, document: Node) -> Iterator[FileJob]:
        for name, key, value in self._items(document, "the file"):
            if name == "jobs":
                for job, job_key, body in self._items(value, "jobs"):
                    found = self._job(job, job_key, body)
                    if found:
                        yield found
            else:
                self._error(_line(key), f"unknown field {_quoted(name)}: expected jobs, with the jobs in it")

    def _job(self, key: str, key_node: Node, body: Node) -> FileJob | None:
        line = _line(key_node)
        name = _KEY.fullmatch(key)
        wrong_service = bool(name) and ("--" in str(name and name[1]) or str(name and name[1]).endswith("-"))
        if name is None or wrong_service or {".", ".."} & set(name.groups()):
            self._error(
                line,
                f"{_quoted(key)} is not a job: expected SERVICE/JOB, such as billing/nightly, each of 1 to 64"
                " characters of A-Z a-z 0-9 _ . -, and a service without -- and without - at its end",
            )
            return None
        errors_before = len(self._errors)
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        nodes: dict[str, Node] = {}
        for field, field_node, value_node in self._items(body, key):
            lines[field] = _line(field_node)
            nodes[field] = value_node
            value = self._value(value_node, f"{key}: /{field}")
            values[field] = (
                json_text(value) if field == "payload" and isinstance(value, dict | list) else value
            )
        job = FileJob(name[1], name[2], values, self._file, line, lines)
        if len(self._errors) == errors_before:
            for pointer, detail in errors_of(values):
                node = _node_at(nodes, pointer)
                self._errors.append(job.error(pointer, f"{detail}{_hint(node, pointer)}"))
        return job

    def _items(self, node: Node, what: str) -> list[tuple[str, Node, Node]]:
        """The keys and values of a mapping, with those of ``<<``, which its own keys override."""
        if not isinstance(node, MappingNode) or node.tag != f"{_TAG}map":
            self._error(_line(node), f"{printable(what)}: expected names with values, such as name: value")
            return []
        own: dict[str, tuple[str, Node, Node]] = {}
        merged: dict[str, tuple[str, Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._error(_line(key), f"{printable(what)}: expected a name, not a list or an object")
                continue
            name = self._text(key, printable(what))
            if name is None:
                continue
            if name == _MERGE and key.style is None:
                sources = value.value if isinstance(value, SequenceNode) else [value]
                for source in sources:
                    self._count(source)
                    for each in self._items(source, what):
                        merged.setdefault(each[0], each)
                continue
            if name in own:
                first = _line(own[name][1])
                self._error(
                    _line(key), f"{printable(what)}: {_quoted(name)} is there twice, first in line {first}"
                )
            own[name] = (name, key, value)
        return list({**merged, **own}.values())

    def _value(self, node: Node, what: str) -> Any:
        """The JSON value of a node."""
        self._count(node)
        if isinstance(node, MappingNode):
            return {name: self._value(value, what) for name, _, value in self._items(node, what)}
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(each, what) for each in node.value]
        if isinstance(node, ScalarNode):
            return self._scalar(node, what)
        return self._wrong_value(
            node, what, f"expected a plain value, not one with the tag {_quoted(node.tag)}"
        )

    def _scalar(self, node: ScalarNode, what: str) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "str":
                return self._text(node, what)
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
            case "int" if len(text) <= _MAX_DIGITS:
                return int(text)
            case "float" if math.isfinite(float(text)):
                return float(text)
            case "int" | "float":
                return self._wrong_value(node, what, f"{shortened(text, 40)} is too large for a number")
        return self._wrong_value(
            node, what, f"expected a plain value, not one with the tag {_quoted(node.tag)}"
        )

    def _text(self, node: ScalarNode, what: str) -> str | None:
        """The text. JSON writes some characters as two escapes, which PyYAML does not join."""
        try:
            return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self._wrong_value(node, what, "expected characters, not half of a surrogate pair")
            return None

    def _wrong_value(self, node: Node, what: str, detail: str) -> None:
        self._error(_line(node), f"{what}: {detail}")

    def _count(self, node: Node) -> None:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise _TooMuch(_line(node), f"expected at most {_MAX_VALUES} values, with those of aliases")

    def _refuse_twice(self, jobs: list[FileJob]) -> None:
        if len(jobs) > MAX_JOBS:
            raise _TooMuch(0, f"expected at most {MAX_JOBS} jobs, not {len(jobs)}")
        self._errors += twice(jobs)

    def _error(self, line: int, detail: str) -> None:
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(FileError(self._file, line, detail))


class _TooMuch(Exception):
    """The file cannot be read to its end."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


def twice(jobs: list[FileJob]) -> list[FileError]:
    """The jobs that stand at more than one place, in one file or in several."""
    first: dict[str, FileJob] = {}
    errors = []
    for job in jobs:
        other = first.setdefault(job.key, job)
        if other is not job:
            errors.append(
                FileError(job.file, job.line, f"{job.key} is there twice, first in {other.file}:{other.line}")
            )
    return errors


def json_text(value: Any) -> str:
    """The text of a payload that is written as YAML: compact, with sorted names, as Terraform writes it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _refuse_depth(text: str) -> None:
    """Refuses nesting in which the composer of PyYAML, which is recursive, would run out of stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise _TooMuch(line, f"expected at most {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _node_at(nodes: dict[str, Node], pointer: str) -> Node | None:
    """The node to which an error of ``errors_of`` points: a field, or one of ``retry``."""
    _, field, *inner = pointer.split("/")
    node = nodes.get(field)
    if inner and isinstance(node, MappingNode):
        return next((value for key, value in node.value if str(key.value) == inner[0]), node)
    return node


def _hint(node: Node | None, pointer: str) -> str:
    """What surprises those who know YAML."""
    if not isinstance(node, ScalarNode) or node.style is not None:
        return ""
    if node.tag == f"{_TAG}null":
        return "; to have the default, leave the field out"
    if node.tag == f"{_TAG}str" and _SURPRISES.fullmatch(str(node.value)):
        return f"; {node.value} is a text here, so write true or false"
    if node.tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"):
        is_text = pointer.split("/")[1] in _TEXTS
        return f'; a text needs quotes here: "{node.value}"' if is_text else ""
    return ""


_TEXTS = frozenset({"schedule", "time_zone", "invocation_target", "payload", "description", "owner"})


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _line_of(error: yaml.YAMLError, text: str) -> int:
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 0


def _quoted(name: Hashable) -> str:
    return shortened(json.dumps(str(name), ensure_ascii=False), 80)
