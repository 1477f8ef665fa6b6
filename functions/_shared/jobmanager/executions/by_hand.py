"""Starts executions that a caller requested.

The record is inserted and the lock is taken before the Step Functions execution starts, so the caller learns
at once if the lock is held. If the function dies in between, the same request with the same
``Idempotency-Key`` starts the execution that is recorded.
"""

import hashlib
import json
import re
import secrets

from jobmanager.api.fields import check_idempotency_key
from jobmanager.core.clock import iso
from jobmanager.core.errors import Conflict
from jobmanager.core.names import execution_id, job_guid, name_errors
from jobmanager.executions import large_values, store
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.machine import start_machine_of
from jobmanager.executions.record import RUNNING, WAITING, ByHand, Due, Execution
from jobmanager.jobs import store as jobs

_CLAIM_SECONDS = 86_400
_MAX_RERUNS = 100
# The session name of an assumed role, which differs between processes of one service.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_SESSION = re.compile(r"(:assumed-role/.+)/[^/]+$")


def start_by_hand(
    service_name: str,
    job_name: str,
    by_hand: ByHand,
    idempotency_key: str | None,
    at_ms: int,
) -> Execution:
    """Starts an execution and returns its record; for a used key, returns the record of that execution.

    Raises NotFound if there is no such job, BadRequest for a malformed key, and Conflict if the lock is held
    or if the key was used for another request.
    """
    # Before a key is claimed: names that are not valid can have the guid of another job.
    if name_errors(service_name, job_name):
        jobs.existing(None, service_name, job_name)
    guid = job_guid(service_name, job_name)
    due: Due = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        # In the history of the job, runs of one second are in the order of their milliseconds.
        "execution_id": execution_id(guid, at_ms, f"{at_ms % 1000:03}{secrets.token_hex(4)}"),
        "scheduled_time": iso(at_ms),
    }
    if idempotency_key is not None:
        claimed = _claim(guid, idempotency_key, due, by_hand, at_ms)
        due["execution_id"], due["scheduled_time"] = claimed["claimed_execution"], claimed["scheduled_time"]
    record = begin_by_hand(due, by_hand, at_ms)
    if idempotency_key is not None and not _runs_the_payload(record, by_hand, at_ms):
        raise _used_for_another()
    # A machine that runs already adds its callback's hash. An Express one would start a second time.
    if record["status"] == RUNNING and "callback_hashes" not in record:
        start_machine_of(record)
    return record


def rerun(
    service_name: str,
    job_name: str,
    execution_id: str,
    started_by: str,
    idempotency_key: str | None,
    at_ms: int,
) -> Execution:
    """Runs a job again with the payload and the parents of an earlier execution, and links the two.

    An execution that failed before it began has no payload; then the job's is used.

    The new record names the old one in ``rerun_of``; the old record lists the first hundred in ``reruns``,
    because a record must not grow without bound. Raises what :func:`start_by_hand` raises.
    """
    old = store.whole(store.read(service_name, job_name, execution_id), "payload")
    by_hand = ByHand(started_by=started_by, rerun_of=execution_id)
    for name in ("payload", "parents", "chain_depth"):
        if name in old:
            by_hand[name] = old[name]
    new = start_by_hand(service_name, job_name, by_hand, idempotency_key, at_ms)
    store.add_link(execution_id, "reruns", new["execution_id"], _MAX_RERUNS)
    return new


def _claim(guid: str, key: str, due: Due, by_hand: ByHand, at_ms: int) -> store.Claim:
    """Claims a key for this execution, or returns the claim of one that used the key within a day."""
    check_idempotency_key(key)
    # No payload and an empty one are the same request if they run the same; _runs_the_payload checks that.
    asked = {name: value for name, value in by_hand.items() if (name, value) != ("payload", "")}
    asked["started_by"] = _SESSION.sub(r"\1", by_hand["started_by"])
    request_hash = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    claimed = store.claim(
        {
            "job_guid": guid,
            # In the partition of the job, but in none of its lists, which hold only keys that begin with the
            # guid.
            "execution_id": f"key#{hashlib.sha256(key.encode()).hexdigest()}",
            "claimed_execution": due["execution_id"],
            "scheduled_time": due["scheduled_time"],
            "asked": request_hash,
            "expires_at": at_ms // 1000 + _CLAIM_SECONDS,
        },
        at_ms // 1000,
    )
    if claimed["asked"] != request_hash:
        raise _used_for_another()
    return claimed


def _runs_the_payload(record: Execution, by_hand: ByHand, at_ms: int) -> bool:
    """Whether an execution under a used key has the payload that this request asks for.

    Without a payload a request asks for the job's own. That is read only if the execution is an earlier one,
    and has an empty payload.
    """
    if record["status"] == WAITING and "payload" not in by_hand:
        return "payload" not in record and "payload_sha256" not in record
    if "payload" in by_hand:
        return large_values.has({"payload": "", **record}, "payload", by_hand["payload"])
    if record.get("payload") or "payload_sha256" in record or record["started_at_ms"] == at_ms:
        return True
    job = jobs.find(record["service_name"], record["job_name"])
    return job is None or not job["payload"]


def _used_for_another() -> Conflict:
    return Conflict("This Idempotency-Key was used for another request. Use a new one.")
