"""docs/api.md lists exactly what the code has."""

import json
import re
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from jobmanager.executions.reasons import CODES
from tests.unit.terraform.blocks import ROOT, routes

PAGE = (ROOT / "docs" / "api.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("terraform/modules/*/README.md")])
OPENAPI = json.loads((ROOT / "functions" / "get_openapi" / "openapi.json").read_text())
JOB = json.loads(
    (ROOT / "functions" / "_shared" / "jobmanager" / "api" / "schemas" / "job.schema.json").read_text()
)


def section(heading: str) -> str:
    """The text of a section, from its heading to the next one."""
    return re.split(r"^#+ ", PAGE.partition(f" {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> set[str]:
    """The code spans in the first column of the tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_each_field_of_a_job_is_explained() -> None:
    assert first_cells(section("Register a job")) == JOB["properties"].keys()


def test_each_warning_is_explained() -> None:
    codes = OPENAPI["components"]["schemas"]["Warning"]["properties"]["code"]["enum"]

    assert first_cells(section("Warnings")) == set(codes)


def test_each_field_of_a_retry_is_explained() -> None:
    assert first_cells(section("Retries")) == JOB["properties"]["retry"]["properties"].keys()


def test_each_status_is_explained() -> None:
    statuses = set(OPENAPI["components"]["schemas"]["Status"]["enum"])

    assert first_cells(section("Executions")) == statuses - {"running"}


def test_each_overlap_is_explained() -> None:
    assert first_cells(section("Overlap")) == {*JOB["properties"]["overlap"]["enum"], "overlap"}


def test_each_reason_of_a_skip_is_explained() -> None:
    assert first_cells(section("Why an execution was skipped")) == set(CODES)


def test_each_error_that_the_manager_sets_on_an_execution_is_explained() -> None:
    sources = [
        *(ROOT / "functions").glob("*/handler.py"),
        *(ROOT / "functions" / "_shared").rglob("*.py"),
        ROOT / "statemachine.asl.json",
    ]
    name = re.compile(r"""["']((?:Job|Manager)\.[A-Za-z]+)["']""")
    errors = {found for source in sources for found in name.findall(source.read_text())}

    assert len(errors) > 6
    assert errors <= first_cells(section("Why an execution failed"))


def properties(schema: str) -> set[str]:
    return set(OPENAPI["components"]["schemas"][schema]["properties"])


def test_each_event_and_each_of_its_fields_is_explained() -> None:
    content = OPENAPI["webhooks"]["event"]["post"]["requestBody"]["content"]["application/json"]
    events = content["schema"]["discriminator"]["mapping"]
    schemas = {schema.rpartition("/")[2] for schema in events.values()}

    assert {event for event in events if f"`{event}`" not in section("Events")} == set()
    assert first_cells(section("Events")) == {field for schema in schemas for field in properties(schema)}


def test_the_example_of_a_notification_has_its_fields() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", section("Be notified"), re.MULTILINE | re.DOTALL)

    assert json.loads(example).keys() == properties("Notification")


def test_each_path_of_the_api_is_named() -> None:
    """The page may abbreviate a path that begins like another, for example to `…/resume`."""
    ends = {route.rpartition("/")[2] for route in routes() if not route.endswith("}")}

    assert len(ends) > 10
    assert {end for end in ends if not re.search(rf"/{re.escape(end)}[`?]", PAGE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_query_strings_are_written_so_that_old_versions_of_curl_sign_them(page: Path) -> None:
    for query in re.findall(r"\?([^\s`|\"?]+=[^\s`|\"?]*)", page.read_text()):
        pairs = [pair.split("=") for pair in query.replace("…", "value").split("&")]
        encoded = [[quote(unquote(part), safe="-_.~") for part in pair] for pair in pairs]
        assert pairs == sorted(encoded), query
