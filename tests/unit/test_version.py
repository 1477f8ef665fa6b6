"""terraform/version.txt is the only place that holds the version of the project. The changelog follows it."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "terraform" / "version.txt").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_version_is_three_numbers() -> None:
    """It is a tag of every resource: https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html"""
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", VERSION)


def test_the_versions_of_the_changelog_fall() -> None:
    released = [as_numbers(version) for version in re.findall(r"^## \[([\d.]+)\]", CHANGELOG, re.MULTILINE)]
    assert released
    assert released == sorted(set(released), reverse=True)


def test_the_version_is_newer_than_the_last_of_the_changelog_while_something_is_unreleased() -> None:
    last, *_ = re.findall(r"^## \[([\d.]+)\]", CHANGELOG, re.MULTILINE)
    (unreleased,) = re.findall(r"^## \[Unreleased\]\n(.*?)^## \[", CHANGELOG, re.MULTILINE | re.DOTALL)
    if "- " in unreleased:
        assert as_numbers(VERSION) > as_numbers(last)
    else:
        assert as_numbers(VERSION) == as_numbers(last)


def test_the_openapi_document_and_the_project_file_do_not_repeat_the_version() -> None:
    document = json.loads((ROOT / "functions" / "get_openapi" / "openapi.json").read_text())
    assert "version" not in document["info"]
    assert not re.search(r"^version\b", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
