"""The longest name and the longest stage still give names that AWS accepts."""

import re

from tests.unit.terraform.blocks import TERRAFORM, blocks
from tests.unit.terraform.rendering import longest

RULE_HASH = 25  # the length of the part of a rule's name that identifies its schedule


def test_names_of_schedule_rules_leave_room_for_the_schedule() -> None:
    """The manager makes these rules at run time. test_quotas.py checks the names that Terraform makes."""
    prefix = f"{longest('name')}-{longest('stage')}"

    assert len(prefix) + len("-schedule-") + RULE_HASH <= 64


def test_the_local_stages_bucket_has_a_name_that_s3_accepts() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    buckets = [b for b in blocks("resource") if b.labels == ("aws_s3_bucket", "packages")]
    (argument,) = {bucket.argument("bucket") for bucket in buckets}  # the same for both providers
    name = (argument or "").strip('"').replace("${var.stage}", longest("stage"))

    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)


def test_every_resource_that_has_a_name_has_the_stages_prefix() -> None:
    named = re.compile(
        r'^  (?:name|alarm_name|alias_name|function_name|queue_name) += "([^"]*)"', re.MULTILINE
    )
    # The default stage of an HTTP API, whose name is not part of the path; the path of an SSM parameter.
    exceptions = {"$default", "/${var.name}/${var.stage}/api-url"}

    for block in blocks("resource", deep=False):
        for name in named.findall(block.body):
            assert "${local.prefix}-" in name or name == "alias/${local.prefix}" or name in exceptions, (
                block.name
            )


def test_no_rule_of_terraform_looks_like_the_rule_of_a_schedule() -> None:
    rules = [b for b in blocks("resource", deep=False) if b.labels[0] == "aws_cloudwatch_event_rule"]

    assert rules
    assert not any("${local.prefix}-schedule-" in (rule.argument("name") or "") for rule in rules)


def test_no_stages_prefix_is_the_beginning_of_anothers() -> None:
    """If a name or a stage could contain a dash, the pattern sjm-dev-* would also match the stage dev-eu."""
    for variable in ("name", "stage"):
        (block,) = (b for b in blocks("variable", deep=False) if b.labels == (variable,))
        assert re.search(r'regex\("\^\[a-z\]\[a-z0-9\]\{', block.body)


def test_no_region_account_or_partition_is_hard_coded() -> None:
    written = re.compile(r"arn:aws:|\b\d{12}\b|\b(?:us|eu|ap)-[a-z]+-\d\b")
    for path in sorted(TERRAFORM.rglob("*.tf")):
        if not {"environments", ".terraform"} & set(path.parts):
            assert not written.search(path.read_text()), path
