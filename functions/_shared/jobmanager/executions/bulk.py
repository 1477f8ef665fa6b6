"""Reruns or cancels many executions in one request: those of a search, or those that the request names.

API Gateway waits for 30 seconds at most. So a request handles as many as the time allows, some at a time, and
answers ``more`` if any are left, as a list does. The next request with ``more`` goes on there. Whatever
happens to one execution is told in the answer, and does not stop the others.

Each is done as by the request for a single execution. A request that is repeated, because its answer was
lost, does nothing twice: a cancelled execution is cancelled again without effect, and a rerun has an
Idempotency-Key that follows from the execution.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.api.fields import bad_field, boolean, check_idempotency_key, names, refuse_unknown
from jobmanager.api.http import problem_document
from jobmanager.api.page_tokens import bounded_count, position, token
from jobmanager.api.search import Search as SearchedBy
from jobmanager.api.search import canonical
from jobmanager.aws.clients import sns, step_functions
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import Conflict, ManagerError, NotFound, Refused
from jobmanager.core.mappings import picked
from jobmanager.core.names import guid_of_execution
from jobmanager.executions import store
from jobmanager.executions.by_hand import rerun
from jobmanager.executions.cancel import cancel, nothing_to_cancel
from jobmanager.executions.history import SEARCHED, Search, search_of
from jobmanager.executions.record import FINAL_STATUSES, RUNNING, WAITING, Execution
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import trace_in_threads

MAX = 1000
"""The most executions of a request."""
_AT_ONCE = 16
_BATCH = 48
# Enough for a batch of executions even if each call is slow, and for the answer.
_TIME_FOR_A_BATCH_MS = 12_000
_SHOWN = ("service_name", "job_name", "scheduled_time", "status")
_OPTIONS = ("execution_ids", "dry_run", "limit", "more")
_FAILED = ("fail", "timeout")

type Result = dict[str, Any]


class Act(Protocol):
    """What is done to each execution."""

    def check(self, record: Execution) -> None:
        """Raises Refused if the execution is to be left as it is."""

    def do(self, record: Execution) -> Result:
        """Does it; returns the ``outcome``, and what else the result is to say. Raises Refused."""


class Rerun(NamedTuple):
    """Runs jobs again with the payloads of executions. With ``again`` also those that were rerun before.

    ``key`` is the Idempotency-Key of the request. Without ``again``, none is needed.
    """

    started_by: str
    again: bool = False
    key: str | None = None

    def check(self, record: Execution) -> None:
        """One that was rerun is left, unless it is to be rerun again."""
        if record.get("reruns") and not self.again:
            raise Conflict(f"It was rerun as {record['reruns'][-1]}. To run it once more, send again: true.")

    def do(self, record: Execution) -> Result:
        """Starts the rerun."""
        name = record["execution_id"]
        key: str | None = f"rerun-of-{name}"
        if self.again:
            key = hashlib.sha256(f"{self.key} {name}".encode()).hexdigest() if self.key else None
        new = rerun(record["service_name"], record["job_name"], name, self.started_by, key, now_ms())
        return {"outcome": "rerun", "rerun": new["execution_id"]}


class Cancel(NamedTuple):
    """Ends executions that run or wait. ``cause``: who cancels them, and why."""

    cause: str

    def check(self, record: Execution) -> None:
        """One that has ended is left. One that was cancelled is cancelled again, to complete that."""
        if record["status"] not in (RUNNING, WAITING, "cancelled"):
            raise nothing_to_cancel(record)

    def do(self, record: Execution) -> Result:
        """Cancels it."""
        return {"outcome": "cancelled", "status": cancel(record, self.cause, now_ms())["status"]}


def rerun_many(
    query: dict[str, Any], started_by: str, key: str | None, at_ms: int, remaining_ms: Callable[[], int]
) -> dict[str, Any]:
    """Reruns the executions of a request; returns the API's answer, see :func:`_done`. Raises BadRequest.

    By a search it reruns those that failed, unless ``status`` says otherwise, and ``since`` is required.
    """
    refuse_unknown(query, (*SEARCHED, *_OPTIONS, "again"))
    again = boolean("again", query.get("again", False))
    if key is not None:
        check_idempotency_key(key)
    search = None
    if "execution_ids" not in query:
        if query.get("since") is None:
            raise bad_field("since", "this field is required unless execution_ids are given")
        status = query.get("status") or (["skipped", "cancelled"] if query.get("reason") else [*_FAILED])
        search = search_of({**picked(query, SEARCHED), "status": status}, "reruns")
        if {RUNNING, WAITING} & set(search.wanted["status"]):
            detail = f"expected one of {', '.join(FINAL_STATUSES)}: what runs cannot be rerun"
            raise bad_field("status", detail)
    act = Rerun(started_by, again, key)
    return _done(query, search, act, at_ms, remaining_ms)


def cancel_many(
    query: dict[str, Any], cause: str, at_ms: int, remaining_ms: Callable[[], int]
) -> dict[str, Any]:
    """Cancels the executions of a request; returns the API's answer, see :func:`_done`. Raises BadRequest.

    ``query`` is without the ``reason``, which is in ``cause``. By a search it cancels those that run or wait.
    """
    searched = tuple(name for name in SEARCHED if name not in ("status", "reason"))
    refuse_unknown(query, (*searched, *_OPTIONS))
    search = None
    if "execution_ids" not in query:
        search = search_of({**picked(query, searched), "status": [RUNNING, WAITING]}, "cancellations")
    return _done(query, search, Cancel(cause), at_ms, remaining_ms)


def _done(
    query: dict[str, Any],
    search: Search | None,
    act: Act,
    at_ms: int,
    remaining_ms: Callable[[], int],
) -> dict[str, Any]:
    """Handles a request; returns ``{"dry_run", "counts", "results", "paging": {"more"}}``.

    Each result has an ``execution_id`` and an ``outcome``: ``rerun``, ``cancelled``, ``planned`` in a dry
    run, ``left`` or ``failed``. The last two have a ``problem``, as the request for the single execution
    would have been answered.
    """
    is_dry_run = boolean("dry_run", query.get("dry_run", False))
    most = bounded_count("limit", query.get("limit"), MAX, MAX)
    chosen: _Chosen = _Named(query) if search is None else _Searched(search, at_ms)
    before = position(query.get("more"), chosen.searched)
    results: list[Result] = []
    sns(), step_functions()  # created here and cached, so that the threads do not each create them
    with ThreadPoolExecutor(_AT_ONCE, initializer=trace_in_threads()) as pool:
        while True:
            batch = chosen.batch(before, min(_BATCH, most - len(results)))
            results += pool.map(lambda each: _result(each, act, is_dry_run), batch.records)
            results += batch.missing
            before = batch.more
            if before is None or len(results) >= most or remaining_ms() < _TIME_FOR_A_BATCH_MS:
                break
    counts = Counter(result["outcome"] for result in results)
    logger.info("executions handled", extra={"dry_run": is_dry_run, **counts})
    more = {"more": token(before, chosen.searched)} if before is not None else {}
    return {"dry_run": is_dry_run, "counts": dict(counts), "results": results, "paging": more}


class _Batch(NamedTuple):
    """Executions, results of those that do not exist, and where to go on; None at the end."""

    records: Sequence[Execution]
    missing: Sequence[Result]
    more: str | None


class _Chosen(Protocol):
    """The executions of a request."""

    @property
    def searched(self) -> SearchedBy:
        """What page tokens are bound to."""

    def batch(self, before: str | None, most: int) -> _Batch:
        """Reads the next executions, consistently."""


class _Searched(NamedTuple):
    search: Search
    at_ms: int

    @property
    def searched(self) -> SearchedBy:
        return self.search.searched

    def batch(self, before: str | None, most: int) -> _Batch:
        found = self.search.page(before, most, self.at_ms)
        ids = [record["execution_id"] for record in found.records]
        return _Batch(store.find_many(ids), [], found.more)


class _Named:
    """Those that the request names; of the services that it names, if it does."""

    def __init__(self, query: dict[str, Any]) -> None:
        others = [name for name in SEARCHED if name in query and name != "service_name"]
        if others:
            raise bad_field(others[0], "expected either execution_ids, or the fields of a search")
        self._ids = _execution_ids(query["execution_ids"])
        self._services = names(query, "service_name")
        self.searched = canonical("named", execution_ids=self._ids, service_name=self._services)

    def batch(self, before: str | None, most: int) -> _Batch:
        start = int(before or "0")
        ids = self._ids[start : start + most]
        records = [record for record in store.find_many(ids) if self._may_be(record)]
        known = {record["execution_id"] for record in records}
        missing = [
            _left(each, NotFound(f"There is no execution {each}, or its record has expired."))
            for each in ids
            if each not in known
        ]
        end = start + len(ids)
        return _Batch(records, missing, str(end) if end < len(self._ids) else None)

    def _may_be(self, record: Execution) -> bool:
        return not self._services or record["service_name"] in self._services


def _execution_ids(value: Any) -> list[str]:
    is_list = isinstance(value, list) and 1 <= len(value) <= MAX
    if not is_list or not all(isinstance(each, str) and guid_of_execution(each) for each in value):
        raise bad_field("execution_ids", f"expected 1 to {MAX} execution_ids")
    return list(dict.fromkeys(value))


def _result(record: Execution, act: Act, is_dry_run: bool) -> Result:
    about = {"execution_id": record["execution_id"], **picked(record, _SHOWN)}
    logger.thread_safe_append_keys(**about)
    try:
        act.check(record)
        return {**about, **({"outcome": "planned"} if is_dry_run else act.do(record))}
    except Refused as refused:
        return {**about, **_left(record["execution_id"], refused)}
    except (ClientError, BotoCoreError, ManagerError) as error:
        logger.error("an execution was not handled", extra={"error": f"{type(error).__name__}: {error}"})
        return {**about, "outcome": "failed", "problem": _FAILURE}
    finally:
        logger.thread_safe_clear_keys()


def _left(execution_id: str, refused: Refused) -> Result:
    """A refusal for now (503), as any failure of the manager, is worth another try."""
    outcome = "failed" if refused.http_status >= 500 else "left"
    return {"execution_id": execution_id, "outcome": outcome, "problem": problem_document(refused)}


_FAILURE = {
    "type": "/problems/internal-error",
    "title": HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
    "status": 500,
    "detail": "The manager failed. Repeat the request; it is safe to do so.",
}
