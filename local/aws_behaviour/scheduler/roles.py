"""What the role of a schedule may do.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
"""

import hashlib
import json
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam as identities

from local.aws_behaviour import iam

SERVICE = "scheduler.amazonaws.com"


def may_be_assumed(role_arn: str, schedule_arn: str) -> bool:
    """Whether a role exists that lets Scheduler assume it for a schedule.

    AWS's condition key aws:SourceArn has the ARN of the schedule's group, and aws:SourceAccount its account.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    """
    role = _find(role_arn)
    if role is None:
        return False
    _, _, _, region, account, resource = schedule_arn.split(":", 5)
    group = f"arn:aws:scheduler:{region}:{account}:schedule-group/{resource.split('/')[1]}"
    context = iam_evaluator.EvalContext(
        principal_arn=SERVICE,
        principal_type="Service",
        principal_account=account,
        action="sts:AssumeRole",
        resource_arn=role_arn,
        region=region,
        source_ip=SERVICE,
        secure_transport=True,
        service_context={"aws:sourcearn": group, "aws:sourceaccount": account},
    )
    return bool(iam_evaluator.evaluate_trust_policy(_as_seen_by_scheduler(role), SERVICE, context))


def refusal(role_arn: str, schedule_arn: str, action: str, resource_arn: str) -> str | None:
    """Why the role's session may not do this, in IAM's words; None if it may.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    session = hashlib.md5(schedule_arn.encode(), usedforsecurity=False).hexdigest()
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource_arn,
        region=schedule_arn.split(":")[3],
        source_ip=SERVICE,
        secure_transport=True,
    )
    policies = iam_evaluator._gather_role_policies(name, account)
    limits = iam_evaluator._permissions_boundary(identities._roles, name, account)
    result = iam_evaluator.evaluate(context, policies, *limits)
    statement = result.matched_sid
    of_resource = iam_evaluator._resource_policy(action.partition(":")[0], resource_arn)
    if of_resource is not None:
        result = iam_evaluator.combine_resource_policy(result, context, *of_resource, limits=tuple(limits))
    allowed = result.decision == "Allow"
    iam.record_decision(context, statement, allowed=allowed)
    if allowed:
        return None
    return str(
        iam_actions.identity_denial_message(
            action, context.principal_arn, resource_arn, result.decision == "Deny"
        )
    )


def _find(role_arn: str) -> dict[str, Any] | None:
    name = role_arn.rpartition("/")[2]
    named = [role for (_, known), role in list(identities._roles._data.items()) if known == name]
    return next((role for role in named if role["Arn"] == role_arn), None)


def _as_seen_by_scheduler(role: dict[str, Any]) -> dict[str, Any]:
    """The trust policy with the statements about Scheduler. Ministack evaluates no service as a principal."""
    document = role["AssumeRolePolicyDocument"]
    policy = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", [])
    about_scheduler = [
        {**each, "Principal": "*"}
        for each in ([statements] if isinstance(statements, dict) else statements)
        if _names_scheduler(each.get("Principal"))
    ]
    return {"Statement": about_scheduler}


def _names_scheduler(principal: Any) -> bool:
    if principal == "*":
        return True
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    return SERVICE in ([services] if isinstance(services, str) else services)
