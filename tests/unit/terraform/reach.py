"""Finds what a function's code can reach: the settings that it reads, and the AWS calls that it makes.

Follows calls by name, from handler.py through the shared package. The result is approximate: it may contain
too much, but not too little.
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.unit.terraform.blocks import ROOT

SHARED = ROOT / "functions" / "_shared" / "jobmanager"
ACTIONS = {
    "get_item": "dynamodb:GetItem",
    "put_item": "dynamodb:PutItem",
    "update_item": "dynamodb:UpdateItem",
    "delete_item": "dynamodb:DeleteItem",
    "query": "dynamodb:Query",
    "scan": "dynamodb:Scan",
    "batch_get_item": "dynamodb:BatchGetItem",
    "list_rules": "events:ListRules",
    "put_rule": "events:PutRule",
    "put_targets": "events:PutTargets",
    "describe_rule": "events:DescribeRule",
    "list_targets_by_rule": "events:ListTargetsByRule",
    "remove_targets": "events:RemoveTargets",
    "delete_rule": "events:DeleteRule",
    "list_schedules": "scheduler:ListSchedules",
    "get_schedule": "scheduler:GetSchedule",
    "create_schedule": "scheduler:CreateSchedule",
    "update_schedule": "scheduler:UpdateSchedule",
    "delete_schedule": "scheduler:DeleteSchedule",
    "publish": "sns:Publish",
    "get_topic_attributes": "sns:GetTopicAttributes",
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "get_queue_url": "sqs:GetQueueUrl",
    "put_record": "firehose:PutRecord",
    "send_task_success": "states:SendTaskSuccess",
    "send_task_failure": "states:SendTaskFailure",
    "send_task_heartbeat": "states:SendTaskHeartbeat",
    "start_execution": "states:StartExecution",
    "start_sync_execution": "states:StartSyncExecution",
    "stop_execution": "states:StopExecution",
    "describe_execution": "states:DescribeExecution",
    "invoke": "lambda:InvokeFunction",
    "encrypt": "kms:Encrypt",
    "decrypt": "kms:Decrypt",
}
# IAM authorizes a transaction by the actions in it.
IN_TRANSACTIONS = {
    "Update": "UpdateItem",
    "Put": "PutItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


@dataclass
class _Module:
    imports: dict[str, tuple[Path, str | None]] = field(default_factory=dict)
    definitions: dict[str, ast.AST] = field(default_factory=dict)


@cache
def _module(path: Path) -> _Module:
    found = _Module()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jobmanager."):
            place = SHARED.joinpath(*(node.module or "").split(".")[1:])
            for name in node.names:
                submodule = place / f"{name.name}.py"
                found.imports[name.asname or name.name] = (
                    (submodule, None) if submodule.is_file() else (place.with_suffix(".py"), name.name)
                )
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.definitions[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.definitions[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found.definitions |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
    return found


@dataclass
class Reach:
    """The settings and actions found so far."""

    settings: set[str] = field(default_factory=set)
    actions: set[str] = field(default_factory=set)
    _seen: set[tuple[Path, str]] = field(default_factory=set)

    def calls(self, module: str, name: str) -> bool:
        """Whether it reached this definition of the shared package."""
        return (SHARED / module, name) in self._seen

    def follow(self, path: Path, name: str) -> None:
        """Adds everything that a definition reaches."""
        module = _module(path)
        node = module.definitions.get(name)
        if node is None or (path, name) in self._seen:
            return
        self._seen.add((path, name))
        bases = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        for part in ast.walk(node):
            self._note(part)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                self._enter(path, module, part.id, is_whole=id(part) not in bases)
            elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                target = module.imports.get(part.value.id)
                if target and target[1] is None:
                    self.follow(target[0], part.attr)

    def _enter(self, path: Path, module: _Module, name: str, is_whole: bool) -> None:
        target = module.imports.get(name)
        if target and target[1]:
            self.follow(target[0], target[1])
        elif target and is_whole:  # a module that is passed on may be used in whole
            for each in _module(target[0]).definitions:
                self.follow(target[0], each)
        else:
            self.follow(path, name)

    def _note(self, node: ast.AST) -> None:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and (node.func.id.endswith("setting") or node.func.id == "is_on")
        ):
            self.settings |= {
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            }
        if isinstance(node, ast.Attribute) and node.attr in ACTIONS:
            self.actions.add(ACTIONS[node.attr])
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "put_rule"
        ):
            self.actions |= {"events:TagResource"} if any(k.arg == "Tags" for k in node.keywords) else set()
        if isinstance(node, ast.Attribute) and node.attr in ("create_schedule", "update_schedule"):
            self.actions.add("iam:PassRole")  # the role in the schedule's target
        if isinstance(node, ast.Dict):
            keys = {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
            self.actions |= {f"dynamodb:{IN_TRANSACTIONS[key]}" for key in keys & IN_TRANSACTIONS.keys()}


def reach_of(function: str) -> Reach:
    """Everything that the function's handler reaches."""
    reach = Reach()
    path = ROOT / "functions" / function / "handler.py"
    for name in list(_module(path).definitions):
        reach.follow(path, name)
    return reach
