"""Terraform's configuration uses only what each version of the AWS provider that it may run with supports.

Version 6 is described by tools/provider_schema.json (`make provider-schema`). Version 3.39 describes itself.
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

# The tests share the directory in which Terraform keeps the provider.
pytestmark = pytest.mark.xdist_group("terraform_provider")

PAGES = "https://github.com/hashicorp/terraform-provider-aws/blob/main/website/docs"
BUCKET_PAGE = f"{PAGES}/guides/version-4-upgrade.html.md#s3-bucket-refactor"
INDEX_PAGE = f"{PAGES}/r/dynamodb_table.html.markdown#global_secondary_index"
# Arguments that version 6 accepts with a warning: by kind and type, the argument's path and the page about
# it.
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
# These deprecated arguments are used anyway, because 3.39 does not have their successors, which are blocks or
# types of their own. Terraform cannot choose between them: the provider must know even a dynamic block that
# generates nothing. 6.x warns, but works.
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
    """Whether the directory may run with this version of the provider."""
    for block in read(directory):
        for name, body in block.body.blocks if block.kind == "terraform" else ():
            if name == "required_providers":
                match = re.search(r'\bversion += "([^"]+)"', body.arguments["aws"])
                assert match, f"{directory} names no version of the AWS provider in required_providers"
                return version in specifiers(match[1])
    assert not any("aws_" in block.address for block in read(directory)), (
        f"{directory} uses AWS resources but has no required_providers"
    )
    return True


def specifiers(constraint: str) -> SpecifierSet:
    """Terraform's version constraint in Python's notation."""
    parts = (part.split() for part in constraint.split(","))
    signs = {"~>": "~=", "=": "=="}
    return SpecifierSet(",".join(f"{signs.get(sign, sign)}{version}" for sign, version in parts))


def blocks_for(version: str) -> list[Block]:
    """The AWS resources, data sources and providers that may run with this version."""
    return [
        block
        for directory in directories()
        if accepts(directory, version)
        for block in read(directory)
        if (block.kind in {"resource", "data"} and block.labels[0].startswith("aws_"))
        or (block.kind == "provider" and block.labels == ("aws",))
    ]


def problems(block: Block, types: Types, version: str) -> Iterator[str]:
    """The problems that a version of the provider would report for a block."""
    schema = types[block.kind].get(block.labels[0])
    if schema is None:
        what_to_do = (
            ""
            if version == OLDER
            else f" in {provider_schema.EXTRACT.name}; update it with: make provider-schema"
        )
        yield f"{block.address}: {version} knows no {block.kind} {block.labels[0]}{what_to_do}"
        return
    found = problems_of_body(block.body, schema, "")
    yield from (f"{block.address}: {version} {problem}" for problem in found)


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
    """The paths of all arguments and blocks."""
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


def test_every_directory_accepts_one_of_the_versions() -> None:
    for directory in directories():
        assert accepts(directory, NEWER) or accepts(directory, OLDER), directory


def test_only_roots_may_require_a_newer_provider_than_the_local_one() -> None:
    ahead = {directory for directory in directories() if not accepts(directory, OLDER)}

    assert ahead <= {*terraform_provider.roots(), TERRAFORM / "environments"}  # roots link to files there
    assert {path.name for path in ahead} >= {"dev", "prod"}


def test_all_used_types_and_arguments_exist_in_the_version(version: str, types: Types) -> None:
    blocks = blocks_for(version)
    found = [problem for block in blocks for problem in problems(block, types, version)]

    assert len(blocks) >= 60
    assert found == []


def test_all_attributes_that_are_read_exist_in_the_version(version: str, types: Types) -> None:
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


def test_deprecated_arguments_are_used_only_if_the_older_version_lacks_the_successor() -> None:
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
def test_the_local_provider_still_lacks_the_successors_of_deprecated_arguments(type_: str) -> None:
    known = older_types()["resource"]

    for (of_type, path), successor in SUCCESSORS.items():
        if of_type == type_:
            assert path in DEPRECATED["resource", type_]
            *parents, last = successor.split(".")
            assert last not in (known[type_].blocks[parents[0]].blocks if parents else known)


def test_every_argument_that_is_listed_as_deprecated_exists_in_version_6() -> None:
    """Otherwise the list could contain a typing error, or something that version 6 rejects anyway."""
    for (kind, name), pages in DEPRECATED.items():
        for path in filter(None, pages):
            schema = NEWER_TYPES[kind][name]
            *parents, last = path.split(".")
            for parent in parents:
                schema = schema.blocks[parent]
            assert last in schema.attributes, path


def block(kind: str, label: str, **arguments: str) -> Block:
    return Block(TERRAFORM / "main.tf", kind, (label, "x"), Body(dict(arguments)))


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (block("resource", "aws_sqs_queue", colour='"red"'), "6.62.0 knows no colour"),
        (block("resource", "aws_sqs_queue", arn='"arn"'), "6.62.0 only reads arn"),
        (block("resource", "aws_sqs_queue_policy", policy='"{}"'), "6.62.0 requires queue_url"),
        (
            block("resource", "aws_sqs_pond"),
            "6.62.0 knows no resource aws_sqs_pond in provider_schema.json; update it with:"
            " make provider-schema",
        ),
    ],
)
def test_a_block_that_version_6_would_reject_has_a_problem(broken: Block, problem: str) -> None:
    assert list(problems(broken, NEWER_TYPES, NEWER)) == [
        f"main.tf: {broken.kind} {broken.labels[0]}.x: {problem}"
    ]


def test_problems_in_nested_blocks_are_found() -> None:
    inner = Body({"destinations": '"arn"'})
    broken = block("resource", "aws_lambda_function_event_invoke_config", function_name='"f"')
    broken.body.blocks.append(
        ("destination_config", Body(blocks=[("on_failure", inner), ("on_mondays", Body())]))
    )

    assert sorted(problem.split(f"{NEWER} ")[1] for problem in problems(broken, NEWER_TYPES, NEWER)) == [
        "knows no block destination_config.on_mondays",
        "knows no destination_config.on_failure.destinations",
        "requires destination_config.on_failure.destination",
    ]


def test_an_argument_that_only_version_6_has_is_a_problem_with_the_older_version() -> None:
    newer = block("resource", "aws_sqs_queue", region='"eu-central-1"')

    assert list(problems(newer, NEWER_TYPES, NEWER)) == []
    assert list(problems(newer, older_types(), OLDER)) == [
        "main.tf: resource aws_sqs_queue.x: 3.39.0 knows no region"
    ]
