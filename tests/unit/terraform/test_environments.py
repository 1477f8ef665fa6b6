import re

import pytest

from tests.unit.terraform.blocks import ENVIRONMENTS, TERRAFORM, blocks

PROMISED_OUTPUTS = {
    "alarms_topic_arn",
    "api_url",
    "dashboard_url",
    "events_topic_arn",
    "executions_table_name",
    "function_names",
    "jobs_table_name",
    "notifications_topic_arn",
    "prefix",
    "schedules_table_name",
    "services_table_name",
    "state_machine_arn",
    "table_arns",
    "tick_dead_letter_queue_url",
    "update_job_state_machine_arn",
    "upkeep_dead_letter_queue_url",
}


def outputs(*path: str) -> set[str]:
    return {block.labels[0] for block in blocks("output", under=TERRAFORM.joinpath(*path), deep=False)}


def sources(environment: str) -> str:
    """The text of all Terraform files in the folder of an environment."""
    files = sorted((TERRAFORM / "environments" / environment).glob("*.tf"))
    return "\n".join(file.read_text() for file in files)


def test_the_stage_has_the_promised_outputs() -> None:
    assert outputs() >= PROMISED_OUTPUTS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_has_all_outputs_of_its_stage(environment: str) -> None:
    assert outputs("environments", environment) == outputs()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_tags_all_its_resources(environment: str) -> None:
    assert re.search(r"default_tags \{\n +tags = (merge\(var.tags, )?\{\n +project ", sources(environment))


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environment_on_aws_locks_its_state_in_s3_and_uses_version_6(environment: str) -> None:
    assert 'backend "s3" {' in sources(environment)
    assert re.search(r"^ +use_lockfile += true$", sources(environment), re.MULTILINE)
    assert 'version = "~> 6.0"' in sources(environment)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environments_files_can_be_copied_for_another_stage(environment: str) -> None:
    own = [file for file in (TERRAFORM / "environments" / environment).glob("*.tf") if not file.is_symlink()]
    lines = [line for file in own for line in file.read_text().splitlines() if line.strip(" {}")]
    code = [line for line in lines if not line.lstrip().startswith("#")]

    assert not [line for line in lines if re.search(rf"\b{environment}\b", line)]
    assert 5 <= len(code) <= 40


def test_prod_protects_its_tables_against_deletion_by_terraform_and_by_anybody() -> None:
    (keeps,) = (
        b for b in blocks("module", under=TERRAFORM / "environments" / "prod") if b.labels[0] == "protection"
    )
    (policy,) = blocks("resource", under=TERRAFORM / "environments" / "prod")
    tables = {
        b.labels[1]
        for b in blocks("resource", under=TERRAFORM, deep=False)
        if b.labels[0] == "aws_dynamodb_table"
    }
    (output,) = (b for b in blocks("output", under=TERRAFORM, deep=False) if b.labels[0] == "table_arns")

    assert keeps.argument("table_arns") == policy.argument("for_each") == "module.stage.table_arns"
    assert policy.labels == ("aws_dynamodb_resource_policy", "table")
    assert set(re.findall(r"aws_dynamodb_table\.(\w+)\.arn", output.body)) == tables


def test_the_local_stage_pins_the_provider_that_needs_no_registry() -> None:
    assert 'version = "= 3.39.0"' in sources("local")
    assert "backend" not in sources("local")


@pytest.mark.parametrize("name", ["allow_private_targets", "allow_loopback_targets", "allow_http_targets"])
def test_only_the_local_stage_allows_internal_targets(name: str) -> None:
    opened = {e for e in ENVIRONMENTS if re.search(rf"^ +{name} += true", sources(e), re.MULTILINE)}
    (variable,) = (b for b in blocks("variable", under=TERRAFORM, deep=False) if b.labels[0] == name)

    assert opened == {"local"}
    assert variable.argument("default") == "false"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_sets_the_log_level(environment: str) -> None:
    assert re.search(r"^  log_level += ", sources(environment), re.MULTILINE)
