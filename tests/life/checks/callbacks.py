"""Callbacks: acknowledged results are kept, forged and late callbacks are refused."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import cast

from jobmanager.executions import attempts
from jobmanager.executions.record import Execution
from tests.life.checks.known import Faults, Known, attempt_of
from tests.life.journal import NO_ANSWER, CalledBack, Json


def acknowledged_results(known: Known) -> Faults:
    """At most one result of an attempt is acknowledged, and the record contains all of it."""
    for name, callbacks in known.callbacks.items():
        finals: defaultdict[int, dict[str, Json]] = defaultdict(dict)
        for each in callbacks:
            if each.is_final and each.status == 200:
                finals[each.attempt][json.dumps(each.body, sort_keys=True)] = each.body
        for attempt, bodies in finals.items():
            if len(bodies) > 1:
                yield f"two results of attempt {attempt} of {name} were acknowledged", callbacks[0].job
            body = next(iter(bodies.values()))
            kept = attempt_of(known.records.get(name, {}), attempt)
            expected = {key: value for key, value in body.items() if key != "state"}
            if "attempts" in kept or attempt == attempts.current(
                cast(Execution, known.records.get(name, {}))
            ):
                expected = body
            found = {key: kept.get(key) for key in expected}
            found |= {"error": json.loads(kept["error"])} if "error" in kept else {}
            if found != expected:
                yield f"acknowledged was {expected} of {name}, kept is {found}", callbacks[0].job


def _ended_at(record: Json, attempt: int) -> int:
    ended: int = attempt_of(record, attempt).get("finished_at_ms", 2**62)
    return ended


def refused_callbacks(known: Known) -> Faults:
    """Forged callbacks are refused. Genuine ones are accepted until the attempt has ended."""
    for name, callbacks in known.callbacks.items():
        record = known.records.get(name, {})
        for each in callbacks:
            if not each.is_genuine:
                if each.status not in (400, 403, NO_ANSWER) and each.status < 502:
                    yield f"a forged callback of {name} was answered {each.status}", each.job
                continue
            if each.status not in (200, 410, 503, NO_ANSWER):
                yield f"a callback of {name} was answered {each.status}: {each.answer}", each.job
            if each.status != 410:
                continue
            apart_ms = known.apart_ms(each.sent_ms, each.ended())
            had_ended = _ended_at(record, each.attempt) <= each.ended() + apart_ms
            if not (had_ended or _lock_was_lost(known, record, each)):
                yield f"a callback of {name} was answered 410, and it had not ended", each.job
            status = each.answer["execution_status"]
            if status != "running" and status != record.get("status"):
                yield f"a callback of {name} was answered with the status {status}", each.job


def late_callbacks(known: Known) -> Faults:
    """Once an attempt has ended, only the callback that ended it is acknowledged again."""
    for name, callbacks in known.callbacks.items():
        for each in callbacks:
            ended = attempt_of(known.records.get(name, {}), each.attempt)
            late_ms = each.sent_ms - _ended_at(known.records.get(name, {}), each.attempt)
            is_taken = each.is_genuine and each.status == 200
            if is_taken and late_ms > known.apart_ms(each.sent_ms) and each.body["status"] != ended["status"]:
                what = f"a callback of {name}, attempt {each.attempt}, was acknowledged {late_ms} ms after"
                yield f"{what} its end as {ended['status']}", each.job


def _lock_was_lost(known: Known, record: Json, callback: CalledBack) -> bool:
    """Whether another execution of the job had a newer token by that time."""
    return any(
        other["job_guid"] == record["job_guid"]
        and other.get("fencing_token", 0) > record.get("fencing_token", 2**62)
        and other["started_at_ms"] <= callback.ended() + known.apart_ms(callback.sent_ms, callback.ended())
        for other in known.records.values()
    )


def heartbeats(known: Known) -> Faults:
    """Each acknowledged heartbeat is counted."""
    for name, callbacks in known.callbacks.items():
        beats = [c for c in callbacks if c.is_genuine and c.body["status"] == "processing"]
        taken = sum(1 for each in beats if each.status == 200)
        counted = known.records.get(name, {}).get("heartbeats", 0)
        if not taken <= counted <= len(beats):
            yield f"{counted} heartbeats of {name} are counted, {taken} were acknowledged", beats[0].job
