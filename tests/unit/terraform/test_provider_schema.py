"""Whatever Terraform's configuration uses is known to each version of the AWS provider that it may run with.

Version 6 as in tools/provider_schema.json (`make provider-schema`), 3.39 as the provider itself tells.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from local import terraform_provider
from tools import provider_schema
from tools.provider_schema import Schema, Types
from tools.terraform_configuration import (
    META_ARGUMENTS,
    META_BLOCKS,
    TERRAFORM,
    Block,
    Body,
    directories,
    read,
    references,
)

NEWER, NEWER_TYPES = provider_schema.load()
OLDER = terraform_provider.PROVIDER_VERSION

# They share the directory in which Terraform keeps the provider.
pytestmark = pytest.mark.xdist_group("terraform_provider")

PAGES = "https://github.com/hashicorp/terraform-provider-aws/blob/main/website/docs"
BUCKET_PAGE = f"{PAGES}/guides/version-4-upgrade.html.md#s3-bucket-refactor"
INDEX_PAGE = f"{PAGES}/r/dynamodb_table.html.markdown#global_secondary_index"
# What version 6 takes, but warns of: by kind and type, then the way to the argument, with the page.
DEPRECATED: dict[tuple[str, str], dict[str, str]] = {
    ("data", "aws_region"): {
        "name": f"{PAGES}/guides/version-6-upgrade.html.markdown#data-source-aws_region"
    },
    ("resource", "aws_cloudwatch_event_rule"): {
        "is_enabled": f"{PAGES}/r/cloudwatch_event_rule.html.markdown#argument-reference"
    },
    ("resource", "aws_dynamodb_table"): {
        "global_secondary_index.hash_key": INDEX_PAGE,
        "global_secondary_index.range_key": INDEX_PAGE,
    },
    ("resource", "aws_iam_role"): {
        "inline_policy": f"{PAGES}/r/iam_role.html.markdown#argument-reference",
        "managed_policy_arns": f"{PAGES}/r/iam_role.html.markdown#argument-reference",
    },
    ("resource", "aws_s3_bucket"): dict.fromkeys(
        (
            "acceleration_status",
            "acl",
            "cors_rule",
            "grant",
            "lifecycle_rule",
            "logging",
            "object_lock_configuration",
            "policy",
            "replication_configuration",
            "request_payer",
            "server_side_encryption_configuration",
            "versioning",
            "website",
        ),
        BUCKET_PAGE,
    ),
    ("resource", "aws_s3_bucket_object"): {
        "": f"{PAGES}/guides/version-4-upgrade.html.md#resource-aws_s3_bucket_object"
    },
}
# Used all the same: what takes their place, a block or a type of its own, 3.39 does not know. Terraform has
# no switch for that: even a dynamic block that makes none must be one that the provider knows. 6.x warns, and
# works.
SUCCESSORS = {
    ("aws_dynamodb_table", "global_secondary_index.hash_key"): "global_secondary_index.key_schema",
    ("aws_dynamodb_table", "global_secondary_index.range_key"): "global_secondary_index.key_schema",
    ("aws_s3_bucket", "lifecycle_rule"): "aws_s3_bucket_lifecycle_configuration",
    ("aws_s3_bucket", "server_side_encryption_configuration"): (
        "aws_s3_bucket_server_side_encryption_configuration"
    ),
    ("aws_s3_bucket", "versioning"): "aws_s3_bucket_versioning",
}


@cache
def older_types() -> Types:
    return provider_schema.from_terraform(terraform_provider.schema())


def accepts(directory: Path, version: str) -> bool:
    """Whether what stands in the directory may be run with this version of the provider."""
    for block in read(directory):
        for name, body in block.body.blocks if block.kind == "terraform" else ():
            if name == "required_providers":
                match = re.search(r'\bversion += "([^"]+)"', body.arguments["aws"])
                assert match, f"{directory} does not say which versions of the provider it takes"
                return version in specifiers(match[1])
    assert not any("aws_" in block.address for block in read(directory)), (
        f"{directory} does not say with which versions of the provider it works"
    )
    return True


def specifiers(constraint: str) -> SpecifierSet:
    """Terraform's version constraint as Python has it."""
    parts = (part.split() for part in constraint.split(","))
    signs = {"~>": "~=", "=": "=="}
    return SpecifierSet(",".join(f"{signs.get(sign, sign)}{version}" for sign, version in parts))


def blocks_for(version: str) -> list[Block]:
    """The resources, data sources and providers of AWS that may be run with this version."""
    return [
        block
        for directory in directories()
        if accepts(directory, version)
        for block in read(directory)
        if (block.kind in {"resource", "data"} and block.labels[0].startswith("aws_"))
        or (block.kind == "provider" and block.labels == ("aws",))
    ]


def problems(block: Block, types: Types, version: str) -> Iterator[str]:
    """What a version of the provider would refuse in a block."""
    schema = types[block.kind].get(block.labels[0])
    if schema is None:
        draw = (
            ""
            if version == OLDER
            else f" in {provider_schema.EXTRACT.name}; draw it anew: make provider-schema"
        )
        yield f"{block.address}: {version} knows no {block.kind} {block.labels[0]}{draw}"
        return
    yield from (f"{block.address}: {version} {said}" for said in problems_of_body(block.body, schema, ""))


def problems_of_body(body: Body, schema: Schema, place: str) -> Iterator[str]:
    given = {name for name, _ in body.blocks}
    for name in body.arguments.keys() - META_ARGUMENTS:
        if name not in schema.arguments:
            yield f"{'only reads' if name in schema.computed else 'knows no'} {place}{name}"
    for name in set(schema.required) - body.arguments.keys() - given:
        yield f"requires {place}{name}"
    for name in set(schema.required_blocks) - given:
        yield f"requires a block {place}{name}"
    for name, inner in body.blocks:
        if name in schema.blocks:
            yield from problems_of_body(inner, schema.blocks[name], f"{place}{name}.")
        elif name not in schema.arguments and (place or name not in META_BLOCKS):
            yield f"knows no block {place}{name}"


def paths(body: Body, place: str = "") -> Iterator[str]:
    """The ways to all arguments and blocks."""
    yield from (f"{place}{name}" for name in body.arguments)
    for name, inner in body.blocks:
        yield f"{place}{name}"
        yield from paths(inner, f"{place}{name}.")


@pytest.fixture(scope="module", params=[NEWER, OLDER])
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def types(version: str) -> Types:
    return NEWER_TYPES if version == NEWER else older_types()


def test_every_directory_says_with_which_versions_it_works() -> None:
    for directory in directories():
        assert accepts(directory, NEWER) or accepts(directory, OLDER), directory


def test_only_a_root_may_leave_the_local_provider_behind() -> None:
    ahead = {directory for directory in directories() if not accepts(directory, OLDER)}

    assert ahead <= {*terraform_provider.roots(), TERRAFORM / "environments"}  # what roots link to
    assert {path.name for path in ahead} >= {"dev", "prod"}


def test_all_that_is_used_is_known(version: str, types: Types) -> None:
    blocks = blocks_for(version)
    found = [problem for block in blocks for problem in problems(block, types, version)]

    assert len(blocks) >= 60
    assert found == []


def test_all_that_is_read_of_resources_is_there(version: str, types: Types) -> None:
    asked = {
        (block.address, kind, name, attribute)
        for directory in directories()
        if accepts(directory, version)
        for block in read(directory)
        for kind, name, attribute in references(block.body)
    }
    missing = [a for a in sorted(asked) if a[3] not in types[a[1]].get(a[2], Schema()).attributes]

    assert len(asked) >= 100
    assert missing == []


def test_nothing_deprecated_is_used_but_what_both_versions_leave_no_way_around() -> None:
    used = []
    for block in blocks_for(NEWER):
        pages = DEPRECATED.get((block.kind, block.labels[0]), {})
        used += [
            f"{block.address}: {path or 'all of it'} is deprecated, see {pages[path]}"
            for path in ["", *paths(block.body)]
            if path in pages and (block.labels[0], path) not in SUCCESSORS
        ]
    for directory in directories():
        for block in read(directory) if accepts(directory, NEWER) else ():
            for kind, name, attribute in references(block.body):
                if attribute in DEPRECATED.get((kind, name), {}):
                    used.append(f"{block.address}: reads {name}.{attribute}, which is deprecated")

    assert used == []


@pytest.mark.parametrize("type_", sorted({type_ for type_, _ in SUCCESSORS}))
def test_what_takes_the_place_of_the_deprecated_is_still_unknown_to_the_local_provider(type_: str) -> None:
    known = older_types()["resource"]

    for (of_type, path), successor in SUCCESSORS.items():
        if of_type == type_:
            assert path in DEPRECATED["resource", type_]
            *ways, last = successor.split(".")
            assert last not in (known[type_].blocks[ways[0]].blocks if ways else known)


def test_what_is_called_deprecated_is_known_to_version_6() -> None:
    """Else the list would forbid what is refused anyway, or hide a slip of the pen."""
    for (kind, name), pages in DEPRECATED.items():
        for path in filter(None, pages):
            schema = NEWER_TYPES[kind][name]
            *ways, last = path.split(".")
            for way in ways:
                schema = schema.blocks[way]
            assert last in schema.attributes, path


def block(kind: str, label: str, **arguments: str) -> Block:
    return Block(TERRAFORM / "main.tf", kind, (label, "x"), Body(dict(arguments)))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (block("resource", "aws_sqs_queue", colour='"red"'), "6.62.0 knows no colour"),
        (block("resource", "aws_sqs_queue", arn='"arn"'), "6.62.0 only reads arn"),
        (block("resource", "aws_sqs_queue_policy", policy='"{}"'), "6.62.0 requires queue_url"),
        (
            block("resource", "aws_sqs_pond"),
            "6.62.0 knows no resource aws_sqs_pond in provider_schema.json; draw it anew:"
            " make provider-schema",
        ),
    ],
)
def test_what_version_6_would_refuse_is_told(broken: Block, said: str) -> None:
    assert list(problems(broken, NEWER_TYPES, NEWER)) == [
        f"main.tf: {broken.kind} {broken.labels[0]}.x: {said}"
    ]


def test_what_is_wrong_in_a_nested_block_is_told() -> None:
    inner = Body({"destinations": '"arn"'})
    broken = block("resource", "aws_lambda_function_event_invoke_config", function_name='"f"')
    broken.body.blocks.append(
        ("destination_config", Body(blocks=[("on_failure", inner), ("on_mondays", Body())]))
    )

    assert sorted(said.split(f"{NEWER} ")[1] for said in problems(broken, NEWER_TYPES, NEWER)) == [
        "knows no block destination_config.on_mondays",
        "knows no destination_config.on_failure.destinations",
        "requires destination_config.on_failure.destination",
    ]


def test_what_only_version_6_knows_is_told_of_a_module() -> None:
    newer = block("resource", "aws_sqs_queue", region='"eu-central-1"')

    assert list(problems(newer, NEWER_TYPES, NEWER)) == []
    assert list(problems(newer, older_types(), OLDER)) == [
        "main.tf: resource aws_sqs_queue.x: 3.39.0 knows no region"
    ]
