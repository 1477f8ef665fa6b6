"""The second stage is tested beside a running stage, with fixtures of the integration tests."""

from tests.integration.conftest import aws, credentials, stage_is_up, user_with

__all__ = ["aws", "credentials", "stage_is_up", "user_with"]
