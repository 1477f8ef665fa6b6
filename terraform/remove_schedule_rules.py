#!/usr/bin/env python3
"""Removes the EventBridge rules of the jobs of one stage.

Terraform does not know these rules, so `terraform destroy` runs this script. To run it by hand:

    python3 remove_schedule_rules.py sjm-dev eu-central-1

Credentials and endpoint come from the environment. The script needs boto3; if this Python does not have it,
the script runs in the project's virtual environment.
"""

import os
import sys
from pathlib import Path
from typing import Any

_PROJECT_PYTHON = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"


def remove_schedule_rules(events: Any, prefix: str) -> list[str]:
    """Removes every rule whose name begins with ``<prefix>-schedule-`` and returns their names."""
    pages = events.get_paginator("list_rules").paginate(NamePrefix=f"{prefix}-schedule-")
    names = [rule["Name"] for page in pages for rule in page["Rules"]]
    for name in names:
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        if targets:
            events.remove_targets(Rule=name, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=name)
    return names


def main(arguments: list[str]) -> str | None:
    """Returns an error message, or None."""
    if len(arguments) != 2:
        return "usage: remove_schedule_rules.py PREFIX REGION, for example: sjm-dev eu-central-1"
    try:
        import boto3
    except ImportError:
        if _PROJECT_PYTHON.exists() and Path(sys.executable) != _PROJECT_PYTHON:
            os.execv(_PROJECT_PYTHON, [str(_PROJECT_PYTHON), __file__, *arguments])
        return (
            f"cannot remove the schedule rules, because {sys.executable} has no boto3. "
            "Activate the project's virtual environment and run terraform destroy again."
        )
    prefix, region = arguments
    removed = remove_schedule_rules(boto3.client("events", region_name=region), prefix)
    print(f"removed {len(removed)} schedule rules of {prefix}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
