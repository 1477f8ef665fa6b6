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
    "tick_dead_letter_queue_url",
    "update_job_state_machine_arn",
    "upkeep_dead_letter_queue_url",
}


def outputs(*path: str) -> set[str]:
    return {block.labels[0] for block in blocks("output", under=TERRAFORM.joinpath(*path), deep=False)}


def main(environment: str) -> str:
    return (TERRAFORM / "environments" / environment / "main.tf").read_text()


def test_the_stage_says_what_was_promised() -> None:
    assert outputs() >= PROMISED_OUTPUTS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_says_all_that_its_stage_says(environment: str) -> None:
    assert outputs("environments", environment) == outputs()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_tags_all_that_it_makes(environment: str) -> None:
    assert re.search(r"default_tags \{\n +tags = \{\n +project ", main(environment))


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_on_aws_the_state_is_shared_and_the_provider_current(environment: str) -> None:
    assert 'backend "s3" {' in main(environment)
    assert 'version = "~> 6.0"' in main(environment)


def test_the_local_stage_pins_the_provider_that_needs_no_registry() -> None:
    assert 'version = "= 3.39.0"' in main("local")
    assert "backend" not in main("local")


@pytest.mark.parametrize("name", ["allow_private_targets", "allow_http_targets"])
def test_only_the_local_stage_lets_webhooks_inward(name: str) -> None:
    opened = {e for e in ENVIRONMENTS if re.search(rf"^ +{name} += true", main(e), re.MULTILINE)}
    (variable,) = (b for b in blocks("variable", under=TERRAFORM, deep=False) if b.labels[0] == name)

    assert opened == {"local"}
    assert variable.argument("default") == "false"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_says_how_much_its_functions_log(environment: str) -> None:
    assert re.search(r"^  log_level += ", main(environment), re.MULTILINE)
