"""An attempt follows where it must, and none follows a DELETE."""

from __future__ import annotations

import json
from typing import cast

from jobmanager.executions import attempts
from jobmanager.executions.record import Execution
from tests.life.checks.known import (
    PACED_MS,
    READ_MS,
    SWEEP_MS,
    Faults,
    Known,
    deletes_of,
    is_express,
    was_stopped,
)


def attempts_after_delete(known: Known) -> Faults:
    """After a DELETE was answered, no further attempt begins, also if the job was made again."""
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name)
        if record is None:
            continue
        deleted = [each for each in deletes_of(known, record) if each.status == 204]
        deleted = [each for each in deleted if each.sent_ms > record["started_at_ms"]]
        begun: set[int] = set()
        for each in sorted(deliveries, key=lambda delivery: delivery.sent_ms):
            is_first = each.attempt not in begun
            begun.add(each.attempt)
            late_ms = known.late_ms(each.sent_ms)
            is_too_late = any(one.ended() + READ_MS + late_ms < each.sent_ms for one in deleted)
            if is_first and each.attempt > 1 and is_too_late:
                yield f"attempt {each.attempt} of {name} began after its job was deleted", each.job


def late_attempts(known: Known) -> Faults:
    """The next attempt of an Express execution begins within a minute after it is due."""
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name, {})
        first = {each.attempt: each for each in reversed(deliveries)}
        for number, ended in enumerate(record.get("attempts", []), 2):
            if not is_express(record) or number not in first:
                continue
            late_ms = first[number].sent_ms - 1000 * ended["next_attempt_at"]
            # Under a limit, a notification may have to wait for its time.
            paced_ms = PACED_MS if "limit" in record else 0
            if late_ms > SWEEP_MS + paced_ms + known.late_ms(
                1000 * ended["next_attempt_at"], first[number].sent_ms
            ):
                yield f"attempt {number} of {name} began {late_ms} ms late", record["job_name"]


def missing_attempts(known: Known) -> Faults:
    """If an attempt failed, and the job retries that, another follows, also while the job is paused."""
    for name, record in known.records.items():
        if "retry" not in record or record["status"] not in ("fail", "timeout"):
            continue
        error = json.loads(record.get("error", "null"))
        is_of_service = record["status"] == "timeout" or record.get("fault") != "manager"
        if not is_of_service or error == "Job.AnswerInvalid":
            continue
        execution = cast(Execution, record)
        if attempts.next_begins_at(execution, record["status"], record["finished_at_ms"]) is None:
            continue
        has_lost_the_lock = any(
            other["job_guid"] == record["job_guid"]
            and other.get("fencing_token", 0) > record.get("fencing_token", 2**62)
            and other["started_at_ms"] <= record["finished_at_ms"] + known.apart_ms(record["finished_at_ms"])
            for other in known.records.values()
        )
        if not (has_lost_the_lock or was_stopped(known, record) or deletes_of(known, record)):
            number = attempts.current(execution)
            yield f"{name} ended after attempt {number}, and another had to follow", record["job_name"]
