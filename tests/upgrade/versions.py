"""Applies the version before, and then this one, to the same local stage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from local import stage, terraform_provider
from local.stage import TerraformRoot

# The last commit of version 1.0.0. Its state machine has a state each for begin, notify and finish.
BEFORE = "572ddca78913b9104cdbc6052e51bd185ce05c26"
EXPORTED = terraform_provider.LOCAL / "upgrade"

# What an update must never delete or replace: executions in progress, jobs, history and callers depend on it.
KEPT = {
    "aws_apigatewayv2_api",
    "aws_cloudwatch_event_rule",
    "aws_cloudwatch_log_group",
    "aws_dynamodb_table",
    "aws_kms_key",
    "aws_lambda_function",
    "aws_sfn_state_machine",
    "aws_sns_topic",
    "aws_sqs_queue",
    "terraform_data",  # removes the jobs' rules when it is destroyed
}

# The emulator does not tag an API that exists, and forgets most of an alarm that is updated. AWS does not.
FORGOTTEN_BY_THE_EMULATOR = {
    "aws_apigatewayv2_api",
    "aws_apigatewayv2_stage",
    "aws_cloudwatch_metric_alarm",
}

type Json = dict[str, Any]


class CannotUpgrade(Exception):
    """The versions cannot be compared here. The message says why and what to do."""


def export() -> Path:
    """Exports the version before into a directory that shares this one's Python packages and provider."""
    directory = EXPORTED / BEFORE[:12]
    git = ["git", "-C", str(terraform_provider.PROJECT)]
    if subprocess.run(
        [*git, "cat-file", "-e", f"{BEFORE}^{{commit}}"], capture_output=True, check=False
    ).returncode:
        raise CannotUpgrade(
            f"this clone lacks the commit {BEFORE}, the version before. If it is a shallow clone, run:"
            " git fetch --unshallow"
        )
    stage.remove_tree(EXPORTED)
    directory.mkdir(parents=True)
    archive = subprocess.run([*git, "archive", BEFORE], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    (directory / ".venv").symlink_to(terraform_provider.PROJECT / ".venv")
    (directory / ".local").mkdir()
    if terraform_provider.has_packaged_provider():
        (directory / ".local" / "terraform-mirror").symlink_to(terraform_provider.mirror())
    vendor = terraform_provider.PROJECT / "build" / "vendor"
    vendor.mkdir(parents=True, exist_ok=True)
    (directory / "build").mkdir()
    (directory / "build" / "vendor").symlink_to(vendor)
    return directory


def apply_before(endpoint: str) -> Json:
    """Applies the version before by its own code. Returns its outputs."""
    directory = export()
    command = [sys.executable, "-m", "local.stage", "up"]
    environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CannotUpgrade(f"the version before cannot be applied:\n{done.stdout}{done.stderr}")
    provider = terraform_provider.chosen_provider()
    state = stage.state_file(endpoint, provider)
    shutil.copy(directory / ".local" / state.name, state)
    outputs: Json = json.loads((directory / ".local" / "outputs.json").read_text())
    return outputs


def planned_changes(endpoint: str, root: TerraformRoot) -> list[Json]:
    """What Terraform would change, without what it only reads."""
    plan = root.path / "upgrade.tfplan"
    variables = [f"-var=stage={stage.STAGE}", f"-var=endpoint={endpoint}"]
    state = stage.state_file(endpoint, root.provider)
    stage.terraform(
        ["plan", "-parallelism=50", f"-state={state}", f"-out={plan}", *variables],
        root.path,
        root.environment,
    )
    command = ["terraform", f"-chdir={root.path}", "show", "-json", str(plan)]
    shown = subprocess.run(command, env=root.environment, capture_output=True, check=True)
    changes: list[Json] = json.loads(shown.stdout)["resource_changes"]
    return [each for each in changes if each["change"]["actions"] not in (["no-op"], ["read"])]


def lost_by(changes: list[Json]) -> list[str]:
    """A sentence for each thing that the changes would delete and that must be kept."""
    lost = []
    for each in changes:
        before, after = each["change"]["before"], each["change"]["after"]
        if each["type"] in KEPT and "delete" in each["change"]["actions"]:
            lost.append(f"{each['address']} would be deleted or replaced: {each['change']['actions']}")
        elif each["type"] == "aws_lambda_function" and before and after:
            # The provider updates the settings first, so the old code runs with the new ones for a moment.
            lost += [
                f"{each['address']} would lose the setting {name}"
                for name in sorted(_settings(before) - _settings(after))
                if _are_known(after)
            ]
        elif each["type"] == "aws_dynamodb_table" and before and after:
            lost += [
                f"the index {name} of {each['address']} would be deleted or replaced"
                for name, keys in _indexes(before).items()
                if _indexes(after).get(name) != keys
            ]
    return lost


def _indexes(table: Json) -> dict[str, tuple[Any, ...]]:
    """The indexes of a table, by name: what cannot change without a new index."""
    return {
        index["name"]: (
            index["hash_key"],
            index["range_key"] or "",
            index["projection_type"],
            tuple(sorted(index["non_key_attributes"] or [])),
        )
        for index in table["global_secondary_index"]
    }


def _settings(function: Json) -> set[str]:
    return {name for block in function["environment"] for name in block.get("variables", ())}


def _are_known(function: Json) -> bool:
    """Whether the plan has the settings. One with the address of a new resource makes all of them unknown."""
    return all("variables" in block for block in function["environment"])
