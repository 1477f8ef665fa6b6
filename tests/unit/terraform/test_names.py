"""The longest name and the longest stage still make names that AWS accepts."""

import re

from tests.unit.terraform.blocks import (
    ENVIRONMENTS,
    TERRAFORM,
    blocks,
    fork_functions,
    function_modules,
    stage_locals,
)

RULE_HASH = 25  # what is left for the part of a rule's name that tells its schedule


def longest(variable: str) -> int:
    """The longest value that the variable's validation lets pass."""
    (block,) = (b for b in blocks("variable", deep=False) if b.labels == (variable,))
    match = re.search(r'regex\("\^\[a-z\]\[a-z0-9\]\{1,(\d+)\}\$"', block.body)
    assert match, f"{variable} has no pattern of this form any more"
    return int(match[1]) + 1


PREFIX = longest("name") + 1 + longest("stage")


def test_names_of_functions_and_their_roles_fit() -> None:
    assert all(PREFIX + 1 + len(name) <= 64 for name in [*function_modules(), *fork_functions()])


def test_names_of_state_machines_fit_their_roles_too() -> None:
    suffixes = re.findall(r'^ +\w+_name += "\$\{local\.prefix\}(-[a-z-]+)"', stage_locals(), re.MULTILINE)

    assert len(suffixes) == 2
    assert all(PREFIX + len(suffix) <= 64 for suffix in suffixes)


def test_names_of_schedule_rules_leave_room_for_the_schedule() -> None:
    assert PREFIX + len("-schedule-") + RULE_HASH <= 64


def test_every_resource_that_has_a_name_has_the_stages_prefix() -> None:
    named = re.compile(
        r'^  (?:name|alarm_name|alias_name|function_name|queue_name) += "([^"]*)"', re.MULTILINE
    )
    # The one stage of an HTTP API that has no name in its path.
    exceptions = {"$default"}

    for block in blocks("resource", deep=False):
        for name in named.findall(block.body):
            assert "${local.prefix}-" in name or name == "alias/${local.prefix}" or name in exceptions, (
                block.name
            )


def test_no_rule_of_terraforms_own_passes_for_the_rule_of_a_job() -> None:
    rules = [b for b in blocks("resource", deep=False) if b.labels[0] == "aws_cloudwatch_event_rule"]

    assert rules
    assert not any("${local.prefix}-schedule-" in (rule.argument("name") or "") for rule in rules)


def test_no_stages_names_begin_like_anothers() -> None:
    """With a dash in its name or stage, sjm-dev-* would match the stage dev-eu too."""
    for variable in ("name", "stage"):
        (block,) = (b for b in blocks("variable", deep=False) if b.labels == (variable,))
        assert re.search(r'regex\("\^\[a-z\]\[a-z0-9\]\{', block.body)


def test_no_region_account_or_partition_is_written_down() -> None:
    written = re.compile(r"arn:aws:|\b\d{12}\b|\b(?:us|eu|ap)-[a-z]+-\d\b")
    for path in sorted(TERRAFORM.rglob("*.tf")):
        if path.parent.name not in ENVIRONMENTS and ".terraform" not in path.parts:
            assert not written.search(path.read_text()), path
