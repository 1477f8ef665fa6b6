import re

import pytest

from tests.unit.terraform.blocks import ENVIRONMENTS, TERRAFORM, blocks
from tools import provider_schema

PROMISED_OUTPUTS = {
    "alarms_topic_arn",
    "api_url",
    "dashboard_url",
    "events_topic_arn",
    "executions_table_name",
    "function_names",
    "index_shards_to_read",
    "jobs_table_name",
    "notifications_topic_arn",
    "prefix",
    "schedules_table_name",
    "services_table_name",
    "limits_table_name",
    "express_state_machine_arn",
    "state_machine_arn",
    "table_arns",
    "tick_dead_letter_queue_url",
    "update_job_state_machine_arn",
    "upkeep_dead_letter_queue_url",
    "version",
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
    found = re.search(
        r"default_tags \{\n +tags = (?:merge\(var.tags, )?\{\n(.*?)\}", sources(environment), re.DOTALL
    )
    assert found
    assert re.findall(r"^ +(\w+) += ", found[1], re.MULTILINE) == ["project", "stage", "version"]
    assert 'version = trimspace(file("${path.root}/../../version.txt"))' in re.sub(
        " += ", " = ", sources(environment)
    )


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environment_on_aws_locks_its_state_in_s3_and_uses_version_6(environment: str) -> None:
    assert 'backend "s3" {' in sources(environment)
    assert re.search(r"^ +use_lockfile += true$", sources(environment), re.MULTILINE)
    # The newest version whose schema is checked: some earlier ones refuse an index without a range key.
    # https://github.com/hashicorp/terraform-provider-aws/issues/46755
    checked, _, _ = provider_schema.load()[0].rpartition(".")
    assert f'version = "~> {checked}"' in sources(environment)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environments_files_can_be_copied_for_another_stage(environment: str) -> None:
    own = [file for file in (TERRAFORM / "environments" / environment).glob("*.tf") if not file.is_symlink()]
    lines = [line for file in own for line in file.read_text().splitlines() if line.strip(" {}")]
    code = [line for line in lines if not line.lstrip().startswith("#")]

    assert not [line for line in lines if re.search(rf"\b{environment}\b", line)]
    assert 5 <= len(code) <= 40


def test_prod_protects_its_tables_against_deletion_by_terraform_and_by_others() -> None:
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


def test_the_local_stage_supports_a_current_provider_and_the_packaged_one() -> None:
    assert 'version = ">= 5.100.0, < 7.0.0"' in sources("local")
    assert "endpoints {" not in sources("local")
    assert 'version = "= 3.39.0"' in sources("local/packaged_provider")
    assert "backend" not in sources("local") + sources("local/packaged_provider")


def test_both_providers_of_the_local_stage_give_it_the_same_tags_and_settings() -> None:
    folder = TERRAFORM / "environments" / "local"
    current, packaged = (folder / "provider.tf", folder / "packaged_provider" / "provider.tf")
    of_both = [
        (
            re.findall(r"^  default_tags \{\n.*?^  \}\n", file.read_text(), re.DOTALL | re.MULTILINE),
            re.findall(r"^  (runtime|packages_bucket) += ", file.read_text(), re.MULTILINE),
        )
        for file in (current, packaged)
    ]

    assert all(of_both[0])
    assert of_both[0] == of_both[1]


@pytest.mark.parametrize(
    ("name", "opened_in"),
    [
        ("allow_private_targets", set()),
        ("allow_loopback_targets", {"local"}),
        ("allow_http_targets", {"local"}),
    ],
)
def test_only_the_local_stage_allows_internal_targets_and_only_on_its_own_machine(
    name: str, opened_in: set[str]
) -> None:
    opened = {e for e in ENVIRONMENTS if re.search(rf"^ +{name} += true", sources(e), re.MULTILINE)}
    (variable,) = (b for b in blocks("variable", under=TERRAFORM, deep=False) if b.labels[0] == name)

    assert opened == opened_in
    assert variable.argument("default") == "false"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_sets_the_log_level(environment: str) -> None:
    assert re.search(r"^  log_level += ", sources(environment), re.MULTILINE)


@pytest.mark.parametrize(
    "permission",
    [
        "states:ValidateStateMachineDefinition",
        "states:ListStateMachineVersions",
        "states:ListExecutions",
        "states:StopExecution",
        "dynamodb:PutResourcePolicy",
        "dynamodb:GetResourcePolicy",
        "dynamodb:DeleteResourcePolicy",
    ],
)
def test_the_page_on_deploying_names_the_permissions_that_a_narrow_role_may_lack(permission: str) -> None:
    """https://github.com/hashicorp/terraform-provider-aws/issues/39472"""
    assert f"`{permission}`" in (TERRAFORM.parent / "docs" / "deploy.md").read_text()
