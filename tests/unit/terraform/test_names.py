"""The longest name and the longest stage still make names that AWS accepts."""

import re

from tests.unit.terraform.blocks import TERRAFORM, blocks
from tests.unit.terraform.rendering import longest

RULE_HASH = 25  # what is left for the part of a rule's name that tells its schedule


def test_names_of_schedule_rules_leave_room_for_the_schedule() -> None:
    """What Terraform makes is measured in test_quotas; these rules are made at run time."""
    prefix = f"{longest('name')}-{longest('stage')}"

    assert len(prefix) + len("-schedule-") + RULE_HASH <= 64


def test_the_local_stages_bucket_has_a_name_that_s3_takes() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    buckets = [b for b in blocks("resource") if b.labels == ("aws_s3_bucket", "packages")]
    (argument,) = {bucket.argument("bucket") for bucket in buckets}  # the same for both providers
    name = (argument or "").strip('"').replace("${var.stage}", longest("stage"))

    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)


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
        if not {"environments", ".terraform"} & set(path.parts):
            assert not written.search(path.read_text()), path
