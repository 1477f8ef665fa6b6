"""docs/data-model.md describes the tables in Terraform, and names the functions that write them."""

import re
from dataclasses import dataclass

import pytest

from tests.unit.terraform.blocks import ROOT, TERRAFORM, Block, blocks, function_modules

PAGE = (ROOT / "docs" / "data-model.md").read_text()
TABLES = {
    block.labels[1]: block
    for block in blocks("resource", deep=False)
    if block.labels[0] == "aws_dynamodb_table"
}
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")

each_table = pytest.mark.parametrize("table", TABLES)


@dataclass(frozen=True)
class Index:
    """A table's own key or an index, as the page describes it. The keys include their types."""

    name: str
    partition: str
    sort: str
    projection: str


def section(table: str) -> str:
    """The page's section on a table."""
    match = re.search(rf"^## `{table}`$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, f"the page has no section on the table {table}"
    return match[1]


def documented_indexes(table: str) -> set[Index]:
    """The indexes on the page."""
    rows = re.search(r"^\| index \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section(table), re.MULTILINE)
    assert rows, f"the page lists no indexes of the table {table}"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]
    return {
        Index(name.strip("`"), partition, sort, projection) for name, partition, sort, projection, _ in cells
    }


def value(name: str, body: str) -> str | None:
    match = re.search(rf'^ +{name} += "?(.*?)"?$', body, re.MULTILINE)
    return match[1] if match else None


def terraform_indexes(table: Block) -> set[Index]:
    """The indexes in Terraform."""
    attributes = [(value("name", body), value("type", body)) for body in table.inner("attribute")]
    types = {name: kind for name, kind in attributes if name and kind}

    def key(name: str | None) -> str:
        return f"`{name}` ({types[name]})" if name else ""

    def index(name: str, body: str, projection: str) -> Index:
        return Index(name, key(value("hash_key", body)), key(value("range_key", body)), projection)

    def projection(body: str) -> str:
        match value("projection_type", body):
            case "INCLUDE":
                included = re.findall(r'"(\w+)"', value("non_key_attributes", body) or "")
                return ", ".join(f"`{name}`" for name in included)
            case "KEYS_ONLY":
                return "keys only"
            case _:
                return "all"

    own = re.sub(r"^  \w+ \{$.*?^  \}$", "", table.body, flags=re.MULTILINE | re.DOTALL)
    of_the_table = index("the table", own, "all")
    kinds = ("global_secondary_index", "local_secondary_index")
    inner = [body for kind in kinds for body in table.inner(kind)]
    return {of_the_table, *(index(value("name", body) or "", body, projection(body)) for body in inner)}


def writers(table: str) -> set[str]:
    """The functions whose policies allow writes to the table."""
    documents = {b.labels[1]: b.body for b in blocks("data") if b.labels[0] == "aws_iam_policy_document"}
    used = re.compile(r"aws_iam_policy_document\.(\w+)\.json")
    found = set()
    for name, module in function_modules().items():
        pending, seen = used.findall(module.body), set[str]()
        while pending:
            if (label := pending.pop()) not in seen:
                seen.add(label)
                pending += used.findall(documents[label])
        statements = [
            statement
            for document in blocks("data")
            if document.labels[0] == "aws_iam_policy_document" and document.labels[1] in seen
            for statement in document.inner("statement")
        ]
        if any(
            f"aws_dynamodb_table.{table}.arn" in statement and any(f":{w}" in statement for w in WRITES)
            for statement in statements
        ):
            found.add(name)
    return found


def test_the_page_has_a_section_and_an_entry_for_exactly_the_tables() -> None:
    assert len(TABLES) > 3
    assert set(re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE)) == TABLES.keys()
    assert set(re.findall(r"^\| \[`(\w+)`\]\(#\1\) \|", PAGE, re.MULTILINE)) == TABLES.keys()


@each_table
def test_keys_indexes_and_projections_are_those_of_terraform(table: str) -> None:
    assert documented_indexes(table) == terraform_indexes(TABLES[table])


@each_table
def test_the_time_to_live_is_that_of_terraform(table: str) -> None:
    (attribute,) = re.findall(r"^TTL: (?:`(\w+)`|none)\.$", section(table), re.MULTILINE)
    enabled = [value("attribute_name", body) for body in TABLES[table].inner("ttl") if "= true" in body]

    assert [attribute] == (enabled or [""])


def test_no_table_has_a_stream_as_the_page_says() -> None:
    assert "None has a stream" in PAGE
    assert not any("stream_enabled" in block.body for block in TABLES.values())


@each_table
def test_the_listed_writers_are_the_functions_that_may_write(table: str) -> None:
    (listed,) = re.findall(r"^Written by (.*?)\.$", section(table), re.MULTILINE | re.DOTALL)

    assert set(re.findall(r"`(\w+)`", listed)) == writers(table)


@each_table
def test_each_key_of_an_index_is_explained_among_the_attributes(table: str) -> None:
    attributes = section(table).partition("| attributes |")[2]
    explained = set(re.findall(r"`(\w+)`", attributes))
    keys = {
        name
        for index in documented_indexes(table)
        for name in re.findall(r"`(\w+)`", f"{index.partition} {index.sort}")
    }
    (table_key,) = (i for i in documented_indexes(table) if i.name == "the table")
    own = set(re.findall(r"`(\w+)`", f"{table_key.partition} {table_key.sort}"))

    assert keys - own <= explained


@pytest.mark.parametrize("name", re.findall(r"\| `(\w+/\w+\.py)` \|$", PAGE, re.MULTILINE))
def test_each_module_that_the_page_names_exists(name: str) -> None:
    assert (ROOT / "functions" / "_shared" / "jobmanager" / name).is_file()


@each_table
def test_each_function_that_changes_an_attribute_may_write_the_table(table: str) -> None:
    attributes = section(table).partition("| changed by |")[2]
    changers = re.findall(r"\| ([^|]*) \|$", attributes, re.MULTILINE)
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", " ".join(changers))) - {"lock_lost", "job_deleted"}

    assert named <= writers(table)


def test_all_tables_are_in_the_file_that_the_page_describes() -> None:
    assert {block.file for block in TABLES.values()} == {TERRAFORM / "tables.tf"}
