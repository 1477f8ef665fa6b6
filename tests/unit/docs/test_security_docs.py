"""The tests, settings and functions that the pages on security name exist."""

import re

import pytest

from tests.unit.terraform.blocks import ROOT, blocks

THREATS = (ROOT / "docs" / "threat-model.md").read_text()
PRIVATE = (ROOT / "docs" / "private-targets.md").read_text()
ROWS = [line.split(" | ") for line in THREATS.splitlines() if re.match(r"\| [A-Z…]", line)]


def test_each_threat_has_a_defence_and_a_test_of_it() -> None:
    assert len(ROWS) > 12
    for threat, defence, tested_by in ROWS:
        assert len(defence) > 20, threat
        assert re.search(r"`(?:unit|integration|checks)/", tested_by), threat


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:unit|integration|checks)/[\w/]+)`", THREATS))))
def test_each_named_test_exists(name: str) -> None:
    assert "def test_" in (ROOT / "tests" / f"{name}.py").read_text()


@pytest.mark.parametrize("page", [THREATS, PRIVATE], ids=["threat-model", "private-targets"])
def test_each_named_setting_exists(page: str) -> None:
    variables = {block.labels[0] for block in blocks("variable", deep=False)}
    named = set(re.findall(r"`((?:allow|api|callback)_[a-z_]+|subnet_ids|security_group_ids)`", page))
    settings = named - {"callback_url"}

    assert settings
    assert settings <= variables


def test_the_page_on_private_targets_names_the_functions_in_the_vpc() -> None:
    """test_hardening.py finds the same functions in the plan."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PRIVATE.partition("## What it needs")[0], re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {
        "notify_service",
        "run_execution",
        "test_job",
        "test_target",
        "validate_job",
    }
