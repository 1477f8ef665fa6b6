"""The Terraform checks of `make check` on a small root, with the real Terraform and provider."""

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
