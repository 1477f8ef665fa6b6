"""The schemas of Terraform's AWS provider, for the resources and data sources that this project uses.

dev and prod run on version 6, which only the Terraform registry provides. So the tests use an extract of its
schema in tools/provider_schema.json, taken from a package that was generated from the provider. Run
`make provider-schema` after you use a new type of resource. Version 3.39, which the local stage runs on,
describes itself.
"""

import gzip
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tools.terraform_configuration import PROJECT, directories, read

EXTRACT = PROJECT / "tools" / "provider_schema.json"
REQUIREMENTS = PROJECT / "requirements" / "provider-schema.txt"

KINDS = ("provider", "resource", "data")
type Types = dict[str, dict[str, "Schema"]]


@dataclass
class Schema:
    """The arguments and nested blocks of a resource, of a data source, or of a block in one."""

    required: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    # Attributes that can only be read.
    computed: list[str] = field(default_factory=list)
    deprecated: list[str] = field(default_factory=list)
    required_blocks: list[str] = field(default_factory=list)
    blocks: dict[str, "Schema"] = field(default_factory=dict)

    @property
    def arguments(self) -> set[str]:
        """The arguments that may be set."""
        return {*self.required, *self.optional}

    @property
    def attributes(self) -> set[str]:
        """The attributes that may be read."""
        return {*self.arguments, *self.computed, *self.blocks}

    def compact(self) -> dict[str, Any]:
        """The schema for the extract, without empty parts."""
        kept = {name: value for name, value in asdict(self).items() if value and name != "blocks"}
        blocks = {name: block.compact() for name, block in sorted(self.blocks.items())}
        return kept | ({"blocks": blocks} if blocks else {})

    @staticmethod
    def of(kept: Mapping[str, Any]) -> "Schema":
        """The schema from the extract."""
        blocks = {name: Schema.of(block) for name, block in kept.get("blocks", {}).items()}
        return Schema(**{name: value for name, value in kept.items() if name != "blocks"}, blocks=blocks)


def load(path: Path = EXTRACT) -> tuple[str, Types]:
    """The provider's version in the extract, and its schemas by kind and type."""
    kept = json.loads(path.read_text())
    found = {kind: {name: Schema.of(schema) for name, schema in kept[kind].items()} for kind in KINDS}
    return kept["version"], found


def from_terraform(document: Mapping[str, Any]) -> Types:
    """The schemas by kind and type, from the output of `terraform providers schema -json`."""
    (provider,) = (p for name, p in document["provider_schemas"].items() if name.endswith("hashicorp/aws"))
    return {
        "provider": {"aws": _from_block(provider["provider"]["block"])},
        "resource": {name: _from_block(s["block"]) for name, s in provider["resource_schemas"].items()},
        "data": {name: _from_block(s["block"]) for name, s in provider["data_source_schemas"].items()},
    }


def _from_block(block: Mapping[str, Any]) -> Schema:
    schema = Schema()
    for name, attribute in block.get("attributes", {}).items():
        if attribute.get("required"):
            schema.required.append(name)
        elif attribute.get("optional"):
            schema.optional.append(name)
        else:
            schema.computed.append(name)
        if attribute.get("deprecated"):
            schema.deprecated.append(name)
    for name, nested in block.get("block_types", {}).items():
        schema.blocks[name] = _from_block(nested["block"])
        if nested.get("min_items"):
            schema.required_blocks.append(name)
    return schema


def used() -> dict[str, set[str]]:
    """The types of resources and data sources that all modules and environments use."""
    found: dict[str, set[str]] = {"provider": {"aws"}, "resource": set(), "data": set()}
    for directory in directories():
        for block in read(directory):
            if block.kind in {"resource", "data"} and block.labels[0].startswith("aws_"):
                found[block.kind].add(block.labels[0])
    return found


class Manifest:
    """The package's jsii manifest: its classes and interfaces link to the provider's documentation."""

    _CLASS = re.compile(
        r"/aws/(?P<version>[\d.]+)/docs/(?P<kind>resources|data-sources)/\w+ (?P<type>aws_\w+)\}"
    )
    _ARGUMENT = re.compile(r"/docs[\w/-]*#(\w+) ")
    _KINDS: ClassVar = {"resources": "resource", "data-sources": "data"}

    def __init__(self, types: Mapping[str, Any]) -> None:
        """``types``: the manifest's types, by their full names."""
        self._types = types
        self.version = ""
        self._classes = {("provider", "aws"): "@cdktn/aws.provider.AwsProvider"}
        for name, described in types.items():
            summary = described.get("docs", {}).get("summary", "")
            if described.get("kind") == "class" and (match := self._CLASS.search(summary)):
                self._classes[self._KINDS[match["kind"]], match["type"]] = name
                self.version = match["version"]

    def schema(self, kind: str, name: str) -> Schema | None:
        """The schema of one type, or None if the provider does not have the type."""
        class_name = self._classes.get((kind, name))
        if class_name is None:
            return None
        schema = self._of_interface(f"{class_name}Config", ())
        # The package lists every id as an argument. The provider does not accept it.
        if "id" in schema.optional:
            schema.optional.remove("id")
            schema.computed.append("id")
        settable = {p["name"] for p in self._types[f"{class_name}Config"].get("properties", [])}
        for property_ in self._types[class_name].get("properties", []):
            read = property_["name"]
            if not property_.get("static") and not read.endswith("Input") and read not in settable:
                schema.computed.append(_with_underscores(read))
        return _sorted(schema)

    def _of_interface(self, interface: str, within: tuple[str, ...]) -> Schema:
        schema = Schema()
        for property_ in self._types[interface].get("properties", []):
            docs = property_.get("docs", {})
            summary = docs.get("summary", "")
            match = self._ARGUMENT.search(f"{docs.get('remarks', '')} {summary}")
            name = match[1] if match else _with_underscores(property_["name"])
            is_required = not property_.get("optional")
            if summary.endswith(" block."):
                inner = next(_interfaces(property_["type"]))
                if inner not in within:  # blocks may contain themselves, such as rules in rules
                    schema.blocks[name] = _sorted(self._of_interface(inner, (*within, inner)))
                if is_required:
                    schema.required_blocks.append(name)
            else:
                (schema.required if is_required else schema.optional).append(name)
        return schema


def _interfaces(type_: Any) -> Iterator[str]:
    """The interfaces in a property's type, except IResolvable, which is part of every type."""
    if isinstance(type_, dict):
        if type_.get("fqn", "cdktn.IResolvable") != "cdktn.IResolvable":
            yield type_["fqn"]
        for inner in type_.values():
            yield from _interfaces(inner)
    elif isinstance(type_, list):
        for inner in type_:
            yield from _interfaces(inner)


def _with_underscores(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _sorted(schema: Schema) -> Schema:
    for names in (schema.required, schema.optional, schema.computed, schema.required_blocks):
        names.sort()
    return schema


def download() -> Manifest:
    """The manifest of the package that requirements/provider-schema.txt names by its hash."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        command += [
            "--require-hashes",
            "--only-binary=:all:",
            "--requirement",
            str(REQUIREMENTS),
            "--dest",
            scratch,
        ]
        subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".jsii.tgz"))
            module = archive.extract(name, scratch)
        with tarfile.open(module) as files:
            manifest = files.extractfile("package/.jsii")
            assert manifest is not None
            content = manifest.read()
    document = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    return Manifest(document["types"])


def text_of(version: str, found: Types) -> str:
    """The text of the extract. Each type has a line of its own, so that diffs are readable."""
    lines = [f'{{\n"version": {json.dumps(version)}']
    for kind in KINDS:
        types = (f"{json.dumps(n)}: {json.dumps(s.compact())}" for n, s in sorted(found[kind].items()))
        lines.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(types) + "\n}")
    return ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Writes the extract. Returns 1 if the provider lacks a type that is used."""
    wanted, manifest = used(), download()
    found: Types = {kind: {} for kind in KINDS}
    for kind in KINDS:
        for name in wanted[kind]:
            schema = manifest.schema(kind, name)
            if schema is None:
                print(
                    f"version {manifest.version} of the AWS provider has no {kind} {name}, which"
                    " terraform/ uses; correct the type, or pin a newer package in"
                    f" {REQUIREMENTS.name}",
                    file=sys.stderr,
                )
                return 1
            found[kind][name] = schema
    EXTRACT.write_text(text_of(manifest.version, found))
    print(f"{EXTRACT.relative_to(PROJECT)}: {sum(map(len, found.values()))} types of {manifest.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
