"""Reads what the benchmarks need to know of the stage that they run against."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3


def outputs() -> dict[str, Any]:
    """Terraform's outputs, by name."""
    values: dict[str, Any] = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())
    return values


def memory_mb(function_names: Iterable[str]) -> dict[str, int]:
    """Each function's memory, by its name in AWS."""
    client = boto3.client("lambda")
    return {
        name: client.get_function_configuration(FunctionName=name)["MemorySize"] for name in function_names
    }
