"""Fixtures of the tests of Terraform's configuration."""

import pytest

from tests.unit.terraform.rendering import Resource, rendered_stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """Every resource of a stage with the longest names. Tests in one xdist group share one rendering."""
    return rendered_stage(tmp_path_factory.mktemp("rendered"))
