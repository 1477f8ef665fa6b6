"""The bodies of notifications, with the fields and in the order of the manager."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sjm.rehearsal.settings import Settings

_SCHEDULE = "cron(0 2 * * ? *)"
# The manager escapes what SQS refuses.
_ESCAPES = {0xFFFE: r"\ufffe", 0xFFFF: r"\uffff"}


def guid_of(settings: Settings) -> str:
    """Returns the ``job_guid``, as every stage has it."""
    return str(uuid5(NAMESPACE_URL, f"{settings.service}--{settings.job}"))


def new_execution_id(settings: Settings, now: datetime) -> str:
    """Returns an id that no receiver has seen, like that of a run by hand."""
    return f"{guid_of(settings)}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def test_notification(settings: Settings) -> dict[str, Any]:
    """Builds a notification that only tests the target."""
    return {"test": True, **_fields_of_job(settings, settings.payload)}


def notification(
    settings: Settings,
    execution_id: str,
    attempt: int,
    *,
    callback_url: str | None,
    payload: str,
    last_success: Mapping[str, Any],
    fencing_token: int | None,
    now: datetime,
) -> dict[str, Any]:
    """Builds the notification of an attempt. ``callback_url`` is None for a sync job."""
    scheduled = now.astimezone(UTC).replace(microsecond=0)
    latency_ms = round((now - scheduled).total_seconds() * 1000)
    body: dict[str, Any] = {
        **_fields_of_job(settings, payload),
        "execution_id": execution_id,
        "attempt": attempt,
        "scheduled_time": f"{scheduled:%Y-%m-%dT%H:%M:%SZ}",
        "scheduled_time_ms": round(scheduled.timestamp()) * 1000,
        "invocation_latency_ms": latency_ms,
        "invocation_latency_pct": round(latency_ms / (settings.waits.ttl_seconds * 1000) * 100, 1),
        "last_successful_execution": dict(last_success),
    }
    if callback_url is not None:
        body["callback_url"] = callback_url
    if fencing_token is not None:
        body["fencing_token"] = fencing_token
    return body


def encoded(body: Mapping[str, Any]) -> bytes:
    """Encodes a notification as it is sent and signed."""
    return json.dumps(body, ensure_ascii=False).translate(_ESCAPES).encode()


def webhook_id(execution_id: str, attempt: int) -> str:
    """Returns the ``webhook-id``: one for each attempt, the same each time its notification is sent."""
    return execution_id if attempt == 1 else f"{execution_id}-{attempt}"


def _fields_of_job(settings: Settings, payload: str) -> dict[str, Any]:
    fields = {
        "service_name": settings.service,
        "job_name": settings.job,
        "job_guid": guid_of(settings),
        "schedule": _SCHEDULE,
        "payload": payload,
        "async": settings.is_async,
        "exclusive": settings.exclusive,
        "ttl_seconds": settings.waits.ttl_seconds,
    }
    if settings.is_async:
        fields["heartbeat_interval_seconds"] = settings.waits.heartbeat_seconds
    return fields
