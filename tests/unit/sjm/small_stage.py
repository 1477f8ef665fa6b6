"""A manager on this machine that keeps jobs, by the functions' own rules. It checks what it is sent."""

import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from jobmanager.core.clock import iso
from jobmanager.core.errors import BadRequest
from jobmanager.jobs.timing import schedule_key
from jobmanager.jobs.validation import definition
from jobmanager.schedules.expression import is_rate
from jobmanager.schedules.fire_times import next_fire_times
from jobmanager.schedules.keys import is_plain, timing_of
from jobmanager.schedules.preview import preview_schedule
from sjm.review.after import parents_of
from tests.unit.sjm.stand_in import Received, Reply, StandIn, errors_of_request, example

NOW_MS = int(datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp()) * 1000
TOPIC = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-notifications"


def problem(status: int, kind: str, detail: str, **more: Any) -> Reply:
    """A refusal."""
    title = kind.replace("-", " ").capitalize()
    return Reply(
        status, {"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail, **more}
    )


FORBIDDEN = Reply(403, {"message": "Forbidden"}, content_type="application/json")


class SmallStage(StandIn):
    """Its jobs by ``service/job``, as the API shows them.

    - ``forbidden``: paths that are not for the caller
    - ``refused``: the jobs whose changes fail
    - ``orphaned``: the jobs that ran after a job when it was deleted
    - ``others``: schedules of jobs that it does not have, with their counts
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.others: dict[str, int] = {}
        self.forbidden: set[str] = set()
        self.default_workflow_type = "standard"
        self.wrong: list[str] = []
        self.orphaned: list[str] = []
        self.refused: set[str] = set()
        self._lock = threading.Lock()

    def put(self, key: str, body: dict[str, Any], **shown: Any) -> dict[str, Any]:
        """Saves a job, as a PUT does."""
        service_name, job_name = key.split("/")
        job: dict[str, Any] = {
            **definition({"workflow_type": self.default_workflow_type, **body}, TOPIC),
            "service_name": service_name,
            "job_name": job_name,
            "job_guid": "97cc0000-0000-5000-8000-000000000000",
            "version": self.jobs.get(key, {}).get("version", 0) + 1,
            "created_at": "2026-11-01T00:00:00Z",
            "updated_at": "2026-11-01T00:00:00Z",
            "updated_by": "arn:aws:iam::123456789012:user/ann",
            "last_successful_execution": {},
            **shown,
        }
        self.jobs[key] = job
        return job

    def requests(self, *methods: str) -> list[tuple[str, str]]:
        """The requests by these methods, as ``(method, path)``, without the base of the address."""
        return [
            (each.method, each.path.removeprefix("/apis/a1"))
            for each in self.received
            if each.method in methods
        ]

    def answer(self, received: Received) -> Reply:
        """Answers as the API does."""
        with self._lock:
            self.wrong += errors_of_request(received)
            path = received.path.removeprefix("/apis/a1")
            if path in self.forbidden:
                return FORBIDDEN
            parts = [unquote(part) for part in path.split("/")[1:]]
            match received.method, parts:
                case _, ["services", service_name, "jobs", job_name]:
                    return self._job(received, f"{service_name}/{job_name}")
                case "GET", ["services", service_name, "jobs"]:
                    jobs = [job for job in self.jobs.values() if job["service_name"] == service_name]
                    return page([{name: job[name] for name in job if name != "payload"} for job in jobs])
                case "GET", ["schedules"]:
                    return page(self._schedules())
                case "GET", ["schedules", "preview"]:
                    return self._preview(dict(received.query))
        return example(received)

    def _job(self, received: Received, key: str) -> Reply:
        saved = self.jobs.get(key)
        expected = received.headers.get("if-match")
        if received.method == "GET":
            return Reply(200, saved) if saved else problem(404, "not-found", f"There is no job {key}.")
        if expected is not None and (saved is None or expected != f'"{saved["version"]}"'):
            return problem(
                412, "precondition-failed", "It has changed.", version=(saved or {}).get("version")
            )
        if received.headers.get("if-none-match") and saved:
            return problem(412, "precondition-failed", "It exists.", version=saved["version"])
        if saved and "managed_by" in saved:
            return problem(
                409, "managed-elsewhere", "It is managed elsewhere.", managed_by=saved["managed_by"]
            )
        if key in self.refused:
            return problem(409, "conflict", "Somebody else changes it.")
        if received.method == "DELETE":
            self.jobs.pop(key, None)
            self.orphaned += [child for child, job in self.jobs.items() if key in _parents(child, job)]
            return Reply(204)
        if missing := [parent for parent in _parents(key, received.body) if parent not in self.jobs]:
            return problem(400, "bad-request", f"There is no job {missing[0]}.")
        return Reply(200 if saved else 201, self.put(key, received.body))

    def _schedules(self) -> list[dict[str, Any]]:
        counts = dict(self.others)
        for job in self.jobs.values():
            if job["enabled"] and "schedule" in job:
                counts[schedule_key(job)] = counts.get(schedule_key(job), 0) + 1
        return [
            {
                "schedule_key": schedule,
                "schedule": timing_of(schedule).schedule,
                "time_zone": timing_of(schedule).time_zone,
                "trigger_type": "rule" if is_plain(timing_of(schedule)) else "scheduler",
                "job_count": count,
                "rule": "in step",
                "next_fire_times": None
                if is_rate(schedule)
                else [iso(ms) for ms in next_fire_times(timing_of(schedule), NOW_MS, 3)],
            }
            for schedule, count in sorted(counts.items())
        ]

    def _preview(self, query: dict[str, str]) -> Reply:
        try:
            return Reply(200, preview_schedule(query, NOW_MS))
        except BadRequest as refusal:
            return problem(400, "bad-request", refusal.detail, **refusal.extra)


def _parents(key: str, job: dict[str, Any]) -> list[str]:
    return [f"{key.partition('/')[0]}/{name}" for name in parents_of(job)]


def page(results: list[Any]) -> Reply:
    """The only page of a list."""
    return Reply(200, {"results": results, "paging": {}})
