"""Notifications agree with their records, and are sent again only after a lost answer."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from jobmanager.core.clock import ms_of_iso
from tests.life.answers import RETRY_AFTER_SECONDS
from tests.life.checks.known import Faults, Known, attempt_of, is_express, is_lost
from tests.life.conduct import POSTPONING
from tests.life.journal import CalledBack, Delivered, Json

TRIES, _MOST_POSTPONEMENTS = 6, 5
"""A notification is sent six times, and once more for each Retry-After that is honoured."""

SECONDS_TO_BEGIN_AGAIN = 6
"""No Retry-After is honoured in the last seconds of an execution."""


def repeated_notifications(known: Known) -> Faults:
    """A notification is sent again only after a lost answer, and then has a new callback_url."""
    for name, deliveries in known.deliveries.items():
        of_attempts: defaultdict[int, list[Delivered]] = defaultdict(list)
        for each in deliveries:
            of_attempts[each.attempt].append(each)
        for attempt, repeated in of_attempts.items():
            for number, (before, after) in enumerate(pairwise(repeated), 1):
                again = f"attempt {attempt} of {name} was notified again after {before.answer!r}"
                if not is_lost(known, before):
                    yield again, before.job
                elif _came_too_early(known, repeated[:number], after):
                    yield f"{again}, {after.sent_ms - before.sent_ms} ms later", before.job
            if len(repeated) > most_deliveries(known.records.get(name, {}), repeated):
                yield f"attempt {attempt} of {name} was notified {len(repeated)} times", repeated[0].job
        urls = [each.notification.get("callback_url", object()) for each in deliveries]
        if len(set(urls)) < len(urls):
            yield f"a callback_url of {name} was sent twice", deliveries[0].job


def _came_too_early(known: Known, deliveries: list[Delivered], after: Delivered) -> bool:
    """Whether the last of these answers had a Retry-After that had to be honoured, and was not."""
    before = deliveries[-1]
    asked = sum(each.answer in POSTPONING for each in deliveries)
    record = known.records[before.execution_id or ""]
    end_ms: int = record["started_at_ms"] + 1000 * (record["max_duration_seconds"] - SECONDS_TO_BEGIN_AGAIN)
    if before.answer not in POSTPONING or asked > _MOST_POSTPONEMENTS or before.ended() >= end_ms:
        return False
    if is_express(record):
        return False  # it ends before the sweep, which comes each minute, could notify the service again
    # The deadline limits the wait. An HTTP date drops fractions of a second, and so does the deadline.
    return after.sent_ms < min(before.sent_ms + 1000 * (RETRY_AFTER_SECONDS - 1), end_ms - 1000)


def most_deliveries(record: Json, deliveries: list[Delivered]) -> int:
    """How often the notification of one attempt may be sent, if it was answered like this."""
    asked = 0 if is_express(record) else sum(each.answer in POSTPONING for each in deliveries)
    return TRIES + min(asked, _MOST_POSTPONEMENTS)


def contents_of_notifications(known: Known) -> Faults:
    """A notification agrees with its record."""
    names = ("job_guid", "schedule", "scheduled_time", "payload", "ttl_seconds", "exclusive", "fencing_token")
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name, {})
        for each in deliveries:
            for field in names:
                if each.notification.get(field) != record.get(field):
                    yield f"{field} of a notification of {name} is not the record's", each.job
            last = each.notification["last_successful_execution"]
            found = known.records.get(last.get("execution_id", ""), {})
            if last and (found.get("status"), found.get("state")) != ("success", last.get("state")):
                yield f"{name} was sent {last} as the last success, which is {found}", each.job


def sync_results(known: Known) -> Faults:
    """The record of a successful sync job contains the result that its service answered."""
    for name, record in known.records.items():
        if record["status"] != "success" or record["async"]:
            continue
        results = [each.result or {} for each in known.deliveries.get(name, [])]
        kept = {field: record[field] for field in ("state", "summary") if field in record}
        if kept not in results:
            yield f"{name} was answered {results}, and its record contains {kept}", record["job_name"]


def lock_holders(known: Known) -> Faults:
    """From its notification until it ends or is overdue, the holder of a lock is the only one."""
    for job in known.life.all_jobs:
        holders = [
            r for r in known.of_job(job) if "fencing_token" in r and known.deliveries.get(r["execution_id"])
        ]
        holders.sort(key=lambda record: int(record["fencing_token"]))
        for earlier, later in pairwise(holders):
            name, next_name = earlier["execution_id"], later["execution_id"]
            notified_ms = known.deliveries[next_name][0].sent_ms
            callbacks = [c for c in known.callbacks.get(name, []) if c.is_genuine and c.status == 200]
            first_result = min(
                (c.sent_ms for c in callbacks if c.is_final and _stands(earlier, c)), default=None
            )
            for callback in callbacks:
                is_new = not callback.is_final or first_result in (None, callback.sent_ms)
                if callback.sent_ms > notified_ms and is_new:
                    yield f"{name} was accepted after {next_name} was notified that it has the lock", job.name
            ended_after = earlier["finished_at_ms"] > notified_ms + known.apart_ms(notified_ms)
            # Until the sweep finds one that is overdue, a caller may cancel it.
            may_end = earlier["status"] in ("timeout", "fail") or (
                earlier["status"] == "cancelled" and earlier["lock_expires_at"] * 1000 <= notified_ms
            )
            if ended_after and not may_end:
                yield f"{name} ended as {earlier['status']} after {next_name} had the lock", job.name
            held_until = max(
                (
                    ms_of_iso(c.answer["lock_expires_at"])
                    for c in callbacks
                    if not c.is_final and c.ended() < notified_ms
                ),
                default=0,
            )
            if notified_ms < held_until and earlier["finished_at_ms"] > notified_ms:
                yield f"{next_name} was notified that it has the lock, which {name} still held", job.name


def _stands(record: Json, callback: CalledBack) -> bool:
    return bool(attempt_of(record, callback.attempt).get("status") == callback.body["status"])
