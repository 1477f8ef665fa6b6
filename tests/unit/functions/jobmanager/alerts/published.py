"""What the topics publish, for the tests of alerts."""

import json
from typing import Any

from jobmanager.core.clock import iso
from tests.unit.functions.examples import NOON_MS

FAILED = ["execution.failed", "execution.timed_out"]


def event(
    name: str, job: str = "nightly", at_ms: int = NOON_MS, service: str = "billing", **more: Any
) -> str:
    """The JSON of an event about a job, or about one of its executions."""
    found: dict[str, Any] = {
        "event": name,
        "occurred_at": iso(at_ms),
        "service_name": service,
        "job_name": job,
        "job_guid": "97cc1b28-4a1f-5f0e-9c4b-1f6a3f1e2d3c",
    }
    if name.startswith("execution.") or name in ("job.failing", "job.recovered"):
        found |= {"execution_id": f"{service}-{job}-{at_ms}", "finished_at_ms": at_ms}
    return json.dumps(found | more)


def failure(job: str = "nightly", at_ms: int = NOON_MS, **more: Any) -> str:
    """The event of a failure, as a service would explain it."""
    details = {
        "error": "LedgerClosed",
        "summary": "the ledger of November is closed",
        "owner": "team-billing",
    }
    return event("execution.failed", job, at_ms, **details | more)


def alarm(state: str, at_ms: int = NOON_MS, name: str = "sjm-prod-late-ticks", **more: Any) -> str:
    """The JSON that CloudWatch publishes when an alarm changes its state."""
    return json.dumps(
        {
            "AlarmName": name,
            "AlarmDescription": "Ticks wait before start_due_executions handles them.",
            "AWSAccountId": "123456789012",
            "NewStateValue": state,
            "NewStateReason": "Threshold Crossed: 1 datapoint [91000.0] was greater than 60000.0.",
            "StateChangeTime": f"{iso(at_ms)[:-1]}.{at_ms % 1000:03}+0000",
            "Region": "EU (Frankfurt)",
            "AlarmArn": f"arn:aws:cloudwatch:eu-central-1:123456789012:alarm:{name}",
            "OldStateValue": "OK" if state == "ALARM" else "ALARM",
        }
        | more
    )
