"""What the pages on security name is there."""

import re

import pytest

from tests.unit.terraform.blocks import ROOT, blocks

THREATS = (ROOT / "docs" / "threat-model.md").read_text()
PRIVATE = (ROOT / "docs" / "private-targets.md").read_text()
ROWS = [line.split(" | ") for line in THREATS.splitlines() if re.match(r"\| [A-Z…]", line)]


def test_each_threat_has_something_against_it_and_a_test_that_shows_it() -> None:
    assert len(ROWS) > 12
    for threat, against, shown in ROWS:
        assert len(against) > 20, threat
        assert re.search(r"`(?:unit|integration)/", shown), threat


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:unit|integration)/[\w/]+)`", THREATS))))
def test_a_test_that_is_named_is_there(name: str) -> None:
    assert "def test_" in (ROOT / "tests" / f"{name}.py").read_text()


@pytest.mark.parametrize("page", [THREATS, PRIVATE], ids=["threat-model", "private-targets"])
def test_a_setting_that_is_named_is_there(page: str) -> None:
    there = {block.labels[0] for block in blocks("variable", deep=False)}
    named = set(re.findall(r"`((?:allow|api|callback)_[a-z_]+|subnet_ids|security_group_ids)`", page))
    ours = {name for name in named if name not in ("callback_url",)}

    assert ours
    assert ours <= there


def test_who_is_in_the_vpc_is_said() -> None:
    """As test_hardening finds them in the plan."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PRIVATE.partition("## What it needs")[0], re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {
        "notify_service",
        "test_job",
        "test_target",
        "validate_job",
    }
