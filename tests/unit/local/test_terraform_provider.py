"""The Terraform checks of `make check` on a small root, with the real Terraform and provider."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from local import terraform_provider

ROOT = """\
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  backend "s3" {
    key = "somewhere"
  }
}

provider "aws" {
  region = "eu-central-1"
}

module "queue" {
  source = "../../modules/queue"
}
"""
# Version 6 of the provider has both of these, and 3.39 has neither.
NEWER_ARGUMENT = 'resource "aws_sns_topic" "t" {\n  region = "eu-central-1"\n}\n'
NEWER_RESOURCE = 'resource "aws_s3_bucket_versioning" "v" {\n  bucket = "b"\n}\n'

# The tests share the directory in which Terraform keeps the provider.
pytestmark = pytest.mark.xdist_group("terraform_provider")

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Makes a project with one root for version 6, which calls one module."""

    def make(root: str = ROOT, module: str = "") -> Path:
        directory = tmp_path / "terraform" / "environments" / "test"
        directory.mkdir(parents=True)
        (directory / "main.tf").write_text(root)
        (tmp_path / "terraform" / "modules" / "queue").mkdir(parents=True)
        (tmp_path / "terraform" / "modules" / "queue" / "main.tf").write_text(module)
        return directory

    monkeypatch.setattr(terraform_provider, "PROJECT", tmp_path)
    monkeypatch.setattr(terraform_provider, "COPIES", tmp_path / "copies")
    return make


def test_the_roots_are_the_environments(project: Project) -> None:
    assert project() in terraform_provider.roots()


def test_a_root_for_version_6_may_use_what_the_local_provider_lacks(
    project: Project,
) -> None:
    root = project(ROOT + NEWER_ARGUMENT + NEWER_RESOURCE)

    assert terraform_provider.problems_of_copy(root) == []


def test_a_module_may_not_use_what_the_local_provider_lacks(project: Project) -> None:
    (problem,) = terraform_provider.problems_of_copy(project(module=NEWER_ARGUMENT))

    assert "modules/queue/main.tf, line 2: Unsupported argument" in problem


def test_an_argument_that_no_version_accepts_is_found_in_a_root(project: Project) -> None:
    root = project(ROOT.replace('modules/queue"\n', 'modules/queue"\n  colour = "red"\n'))
    (problem,) = terraform_provider.problems_of_copy(root)

    assert "main.tf, line 20: Unsupported argument" in problem


@pytest.mark.parametrize("given", ["", "packaged"])
def test_the_local_stage_runs_on_the_packaged_provider_by_default(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("PROVIDER", given)

    assert terraform_provider.chosen_provider() == "packaged"
    assert 'version = "= 3.39.0"' in terraform_provider.provider_file("packaged").read_text()


def test_an_unknown_provider_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER", "newest")

    with pytest.raises(terraform_provider.TerraformError, match=r"PROVIDER=newest .* set PROVIDER=installed"):
        terraform_provider.chosen_provider()


def test_an_installed_provider_is_found_by_the_users_own_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/etc/terraform.rc")
    monkeypatch.setattr("shutil.which", lambda _: "/bin/terraform")
    environment = terraform_provider.environment_for_terraform("installed")

    assert environment["TF_CLI_CONFIG_FILE"] == "/etc/terraform.rc"
    monkeypatch.delenv("TF_CLI_CONFIG_FILE")
    assert "TF_CLI_CONFIG_FILE" not in terraform_provider.environment_for_terraform("installed")


@pytest.mark.parametrize(
    ("provider", "version", "endpoints"),
    [("packaged", '"= 3.39.0"', True), ("installed", '">= 5.100.0, < 7.0.0"', False)],
)
def test_a_root_is_written_for_its_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, version: str, endpoints: bool
) -> None:
    monkeypatch.setattr(terraform_provider, "LOCAL", tmp_path)
    root = terraform_provider.root_for(provider)
    text = (root / "provider.tf").read_text()

    assert f"version = {version}" in text
    assert ("endpoints {" in text) is endpoints
    assert (root / "../../manage_job.py").is_file()
    assert (root / "../../../statemachine.asl.json").is_file()
    assert (root / "../../../build").resolve() == terraform_provider.PROJECT / "build"


def test_a_missing_installed_provider_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terraform_provider, "LOCAL", tmp_path)
    configuration = tmp_path / "terraform.rc"
    mirror = f'filesystem_mirror {{\n    path = "{tmp_path}"\n  }}'
    configuration.write_text(f"provider_installation {{\n  {mirror}\n}}\n")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(configuration))

    assert terraform_provider.main(["installed"]) == 1


def test_another_process_always_reads_the_whole_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(terraform_provider, "LOCAL", tmp_path)
    monkeypatch.setattr(terraform_provider, "has_packaged_provider", lambda: True)
    monkeypatch.setattr(terraform_provider, "mirror", lambda: tmp_path / "mirror")
    configuration = Path(terraform_provider.provider_environment()["TF_CLI_CONFIG_FILE"])
    whole = configuration.read_text()
    written = configuration.stat()

    with configuration.open() as reader:
        terraform_provider.provider_environment()
        assert reader.read() == whole
    assert (configuration.stat().st_ino, configuration.stat().st_mtime_ns) == (
        written.st_ino,
        written.st_mtime_ns,
    )

    configuration.write_text("of another mirror")
    with configuration.open() as reader:
        terraform_provider.provider_environment()
        assert reader.read() == "of another mirror"
    assert configuration.read_text() == whole
    assert [path.name for path in tmp_path.iterdir()] == [configuration.name]


def test_commands_attach_to_a_provider_that_runs_until_they_are_done() -> None:
    with terraform_provider.running_provider() as setting:
        if not setting:
            pytest.skip("This machine is too busy for the provider's debug mode.")
        (running,) = json.loads(setting[terraform_provider.ATTACH]).values()
        socket = Path(running["Addr"]["String"])
        assert socket.is_socket()

    assert not socket.parent.exists()


def test_a_provider_that_terraform_finds_by_itself_is_not_started() -> None:
    with terraform_provider.running_provider("installed") as setting:
        assert setting == {}


def test_terraform_starts_a_provider_itself_that_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / terraform_provider.PROVIDER_DIRECTORY / "terraform-provider-aws_v0"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(terraform_provider, "mirror", lambda: tmp_path)

    with terraform_provider.running_provider() as setting:
        assert setting == {}
