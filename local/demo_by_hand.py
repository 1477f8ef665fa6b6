"""The demo's scene of actions by hand: pause a job, run it now, cancel a run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from local.api_client import ManagerApi, path_of
from local.demo_checks import expect, results
from local.demo_wording import job_line, shortened
from local.observed_service import ObservedService
from local.timeline import Timeline

SECONDS_FOR_EACH = 30


class ByHand:
    """The scene, on the demo's own stage and service."""

    def __init__(self, api: ManagerApi, service: ObservedService, say: Timeline) -> None:
        self._api = api
        self._service = service
        self._say = say

    def show_pause_and_run_now(self, job_name: str) -> None:
        """A paused job does not fire, but can be run on request."""
        paused = self._post(200, {"reason": "the provider is down"}, job_name, "pause")["paused"]
        self._say("pause", job_line(job_name, f"200  {paused['reason']!r}, by {paused['paused_by']}"))
        before = len(results(self._service, job_name))
        payload = json.dumps({"do": "succeed", "summary": "1 rate"})
        execution = self._post(201, {"payload": payload}, job_name, "executions")
        expect(
            "paused" in execution, f"The answer to running {job_name} does not say that the job is paused."
        )
        self._say("run now", job_line(job_name, "201  although it is paused; the answer says so"))
        self._wait(lambda: len(results(self._service, job_name)) > before, f"{job_name} to finish")
        job = self._post(200, None, job_name, "resume")
        expect("paused" not in job, f"{job_name} is still paused.")
        self._say("resume", job_line(job_name, "200"))

    def show_cancel(self, job_name: str) -> None:
        """While an exclusive job runs, another run is refused. Cancelling frees its lock."""
        execution = self._post(201, {"payload": json.dumps({"do": "silent"})}, job_name, "executions")
        token = execution["fencing_token"]
        self._say("run now", job_line(job_name, f"201  fencing_token {token}"))
        refusal = self._post(409, None, job_name, "executions")
        expect(refusal["lock_execution"] == execution["execution_id"], f"The 409 named {refusal}.")
        self._say("run now", job_line(job_name, f"409  the lock is held by {refusal['lock_execution']}"))
        reason = {"reason": "end of the demo"}
        cancelled = self._post(200, reason, job_name, "executions", execution["execution_id"], "cancel")
        self._say("cancel", job_line(job_name, f"200  {cancelled['status']}: {cancelled['cause']}"))
        self._wait(lambda: "lock_execution" not in self._job(job_name), f"the lock of {job_name} to be free")
        self._say("checked", f"the lock of {job_name} is free")

    def _post(self, expected: int, body: dict[str, Any] | None, *path: str) -> dict[str, Any]:
        whole = path_of("services", self._service.service_name, "jobs", *path)
        answer = self._api.request("POST", whole, body)
        expect(answer.status == expected, f"POST {whole} was answered {shortened(answer)}.")
        result: dict[str, Any] = answer.body
        return result

    def _job(self, job_name: str) -> dict[str, Any]:
        path = path_of("services", self._service.service_name, "jobs", job_name)
        job: dict[str, Any] = self._api.request("GET", path).body
        return job

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS_FOR_EACH
        while not condition():
            expect(
                time.monotonic() < deadline, f"Waited {SECONDS_FOR_EACH} s for {what}, which did not happen."
            )
            time.sleep(0.2)
