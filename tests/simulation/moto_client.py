"""A client of moto, which the stand-ins are held against."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws


@contextmanager
def moto_client(service: str) -> Iterator[Any]:
    """A client of one service in moto, whatever the environment says about AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            client: Any = boto3.client  # typed, it knows a service only by a literal name
            yield client(service, region_name="us-east-1")
