"""Where the scenarios happen: the local stage, or a stand-in of one if none is up.

Both have the same: the API, the callback URLs that a service gets, and a schedule that fires when a test
says so.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from sjm.client import Job, Manager
from tests.integration.polling import poll
from tests.integration.scenario import Scenario, own_schedule
from tests.unit.sjm.console.stage_server import StageServer


class Ground(Protocol):
    """A stage, and a service on it that only notes what it is told."""

    manager: Manager
    service_name: str
    stage: str
    schedule: str
    """A schedule that only this test has. It does not fire by itself while the tests run."""

    def tick(self) -> None:
        """Delivers a tick of the schedule, as its trigger does."""

    def callback_url(self, job_name: str, number: int = 1) -> str:
        """The ``callback_url`` of the job's notification with this number, the first of which is 1."""


class OnStandIn:
    """The stand-in."""

    def __init__(self, server: StageServer, manager: Manager) -> None:
        self._stage = server.stage
        self.manager = manager
        self.service_name = f"test-{uuid.uuid4().hex[:12]}"
        self.stage = "stand-in"
        self.schedule = own_schedule()

    def tick(self) -> None:
        """See Ground."""
        self._stage.fire(self.schedule)

    def callback_url(self, job_name: str, number: int = 1) -> str:
        """See Ground."""
        of_job = [each for each in self._stage.notifications if each["job_name"] == job_name]
        return str(of_job[number - 1]["callback_url"])


class OnStage:
    """The local stage, with a service that is notified over SNS."""

    def __init__(self, scenario: Scenario, manager: Manager, observed: Any) -> None:
        self._scenario = scenario
        self._observed = observed
        self.manager = manager
        self.service_name = scenario.service_name
        self.stage = "local"
        self.schedule = scenario.schedule

    def tick(self) -> None:
        """See Ground. Other tests show that triggers fire by themselves."""
        self._scenario.tick()

    def callback_url(self, job_name: str, number: int = 1) -> str:
        """See Ground. Waits for the notification."""

        def found() -> str | None:
            of_job = [
                each.notification
                for each in self._observed.received
                if each.notification["job_name"] == job_name and not each.notification.get("test")
            ]
            return str(of_job[number - 1]["callback_url"]) if len(of_job) >= number else None

        return poll(found, 120, f"notification {number} of {job_name}")


@contextmanager
def on_stage(scenario: Scenario, manager: Manager) -> Iterator[OnStage]:
    """The local stage with its service."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as observed:
        yield OnStage(scenario, manager, observed)


def put(ground: Ground, job_name: str, schedule: str, **fields: Any) -> None:
    """Creates a job by the API."""
    job: Any = {"schedule": schedule, "invocation_type": "sns", **fields}
    checked: Job = job
    ground.manager.put_job(ground.service_name, job_name, checked)


def failed_run(ground: Ground, job_name: str, number: int = 1, error: str = "LedgerLocked") -> str:
    """Runs a job by the API, and lets its service report a failure. Returns the execution_id."""
    started = ground.manager.start_execution(ground.service_name, job_name)
    url = ground.callback_url(job_name, number)
    ground.manager.call_back(url, {"status": "fail", "error": error, "summary": "the table is in use"})

    def ended() -> bool:
        found = ground.manager.get_execution(ground.service_name, job_name, started["execution_id"])
        return found["status"] == "fail"

    poll_or_now(ended, f"failure of {job_name}")
    return started["execution_id"]


def poll_or_now(until: Any, what: str) -> None:
    """Waits for the stage. The stand-in has done everything at once."""
    if not until():
        poll(until, 120, what)
