"""Executions that somebody asks for, rather than a tick.

The record, and with it the lock, comes first, and then the Step Functions execution of the same name: so who
asks learns at once whether the lock is held. If the function dies in between, the same request with the same
``Idempotency-Key`` starts what is recorded.
"""

import hashlib
import json
import re
import secrets
from typing import Any

from jobmanager.api.fields import bad_field
from jobmanager.aws.tables import get, insert
from jobmanager.core.clock import iso
from jobmanager.core.errors import Conflict
from jobmanager.core.names import execution_id, job_guid
from jobmanager.core.settings import setting
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin_by_hand
from jobmanager.executions.machine import start_machine
from jobmanager.executions.store import Execution

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_SECONDS = 86_400
# Of an assumed role; the next process of the same service has another.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_SESSION = re.compile(r"(:assumed-role/.+)/[^/]+$")


def start_by_hand(
    service_name: str,
    job_name: str,
    by_hand: dict[str, Any],
    idempotency_key: str | None,
    at_ms: int,
) -> Execution:
    """Starts an execution and answers its record; with a key that was used, the record of that execution.

    ``by_hand``: ``started_by``, and ``payload`` or ``rerun_of`` if the execution has them. Raises NotFound,
    BadRequest for a key out of form, and Conflict if the lock is held or the key was used for something else.
    """
    guid = job_guid(service_name, job_name)
    due = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        "execution_id": execution_id(guid, at_ms, secrets.token_hex(4)),
        "scheduled_time": iso(at_ms),
    }
    if idempotency_key is not None:
        due |= _claim(guid, idempotency_key, due, by_hand, at_ms)
    record = begin_by_hand(due, by_hand, at_ms)
    if record["status"] == executions.RUNNING:
        start_machine(record)
    return record


def _claim(guid: str, key: str, due: dict[str, Any], by_hand: dict[str, Any], at_ms: int) -> dict[str, str]:
    """Which execution a key stands for: this one, or the one for which it was used within a day."""
    if not _KEY.fullmatch(key):
        raise bad_field("Idempotency-Key", "expected 1 to 255 visible ASCII characters")
    asker = _SESSION.sub(r"\1", by_hand["started_by"])
    asked = hashlib.sha256(json.dumps({**by_hand, "started_by": asker}, sort_keys=True).encode()).hexdigest()
    item = {
        "job_guid": guid,
        # Beside the executions of the job, but in none of its lists: those begin with the guid.
        "execution_id": f"key#{hashlib.sha256(key.encode()).hexdigest()}",
        "claimed_execution": due["execution_id"],
        "scheduled_time": due["scheduled_time"],
        "asked": asked,
        "expires_at": at_ms // 1000 + _KEPT_SECONDS,
    }
    table = setting("EXECUTIONS_TABLE")
    if not insert(table, item, "execution_id", at_ms // 1000):
        item = get(table, {name: item[name] for name in ("job_guid", "execution_id")}) or item
    if item["asked"] != asked:
        raise Conflict("This Idempotency-Key was used for another request. Use a new one.")
    return {"execution_id": item["claimed_execution"], "scheduled_time": item["scheduled_time"]}
