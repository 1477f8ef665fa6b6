"""The extract of the provider's schema: names, required and read-only attributes, blocks within blocks."""

from pathlib import Path
from typing import Any

import pytest

from tools import provider_schema
from tools.provider_schema import Manifest, Schema

DOCS = "{@link https://example.com/providers/hashicorp/aws/6.62.0/docs/resources/pond"


def argument(name: str, *, optional: bool = True, link: str = "") -> dict[str, Any]:
    docs = {"summary": f"Docs at: {DOCS}#{link or name} AwsPond#x}}."}
    return {"name": name, "optional": optional, "docs": docs}


def nested(name: str, interface: str, *, link: str, optional: bool = True) -> dict[str, Any]:
    several = {"collection": {"elementtype": {"fqn": interface}}}
    many = {"union": {"types": [{"fqn": "cdktn.IResolvable"}, several]}}
    docs = {"summary": f"{link} block.", "remarks": f"Docs: {DOCS}#{link} AwsPond#x}}"}
    return {"name": name, "optional": optional, "type": many, "docs": docs}


MANIFEST = {
    "x.AwsPond": {
        "kind": "class",
        "docs": {"summary": f"Represents a {DOCS} aws_pond}}."},
        "properties": [
            {"name": "tfResourceType", "static": True},
            {"name": "deepEnough"},
            {"name": "depth"},
            {"name": "depthInput"},
        ],
    },
    "x.AwsPondConfig": {
        "kind": "interface",
        "properties": [
            argument("depth", optional=False),
            argument("kmsKeyId", link="kms_key_id"),
            argument("id"),
            nested("fishAndFrogs", "x.Fish", link="fish_and_frogs", optional=False),
        ],
    },
    "x.Fish": {"kind": "interface", "properties": [argument("name"), nested("fry", "x.Fish", link="fry")]},
}
POND = Schema(
    required=["depth"],
    optional=["kms_key_id"],
    computed=["deep_enough", "id"],
    required_blocks=["fish_and_frogs"],
    blocks={"fish_and_frogs": Schema(optional=["name"])},
)


def test_a_schema_is_extracted_from_the_manifest() -> None:
    manifest = Manifest(MANIFEST)

    assert manifest.schema("resource", "aws_pond") == POND
    assert manifest.version == "6.62.0"


def test_a_type_that_the_manifest_lacks_has_no_schema() -> None:
    assert Manifest(MANIFEST).schema("data", "aws_pond") is None


def test_a_written_extract_can_be_read_again(tmp_path: Path) -> None:
    kept = tmp_path / "extract.json"
    types = {
        "provider": {},
        "resource": {"aws_pond": POND, "aws_brook": Schema()},
        "data": {"aws_pond": POND},
    }
    kept.write_text(provider_schema.text_of("6.62.0", types))

    assert provider_schema.load(kept) == ("6.62.0", types)
    assert len([line for line in kept.read_text().splitlines() if "aws_" in line]) == 3


def test_terraforms_own_description_gives_the_same_schema() -> None:
    block = {
        "attributes": {
            "depth": {"type": "number", "required": True},
            "kms_key_id": {"type": "string", "optional": True, "computed": True},
            "deep_enough": {"type": "bool", "computed": True},
            "id": {"type": "string", "computed": True},
        },
        "block_types": {
            "fish_and_frogs": {"min_items": 1, "block": {"attributes": {"name": {"optional": True}}}}
        },
    }
    aws = {
        "provider": {"block": {}},
        "resource_schemas": {"aws_pond": {"block": block}},
        "data_source_schemas": {},
    }
    document = {"provider_schemas": {"terraform.io/builtin/terraform": {}, "somewhere/hashicorp/aws": aws}}

    assert provider_schema.from_terraform(document)["resource"] == {"aws_pond": POND}


def test_an_unknown_type_is_an_error_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provider_schema, "EXTRACT", tmp_path / "extract.json")
    monkeypatch.setattr(provider_schema, "download", lambda: Manifest(MANIFEST))
    monkeypatch.setattr(
        provider_schema, "used", lambda: {"provider": set(), "resource": {"aws_lake"}, "data": set()}
    )

    assert provider_schema.main() == 1
    assert "6.62.0 of the AWS provider has no resource aws_lake" in capsys.readouterr().err
    assert not (tmp_path / "extract.json").exists()
