"""Which calls to AWS the functions make."""

from typing import Any

import pytest
from botocore.client import BaseClient


def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which each further call's operation is appended."""
    made: list[str] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(client: BaseClient, operation: str, parameters: Any) -> Any:
        made.append(operation)
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return made
