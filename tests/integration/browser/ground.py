"""Where the scenarios happen: the local stage, or a stand-in of one if none is up.

Both tell the same: the API, the callback URLs that a service gets, and a schedule that fires soon.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sjm.client import Job, Manager
from tests.integration.polling import patient, poll
from tests.integration.scenario import Scenario
from tests.unit.sjm.console.stage_server import StageServer

# Until then, a job must have been put into the form and saved. Then the test waits for the rest of the time.
SECONDS_UNTIL_IT_FIRES = 120
MOST_SECONDS_UNTIL_IT_FIRES = 300


class Ground(Protocol):
    """A stage, and a service on it that only notes what it is told."""

    manager: Manager
    service_name: str
    stage: str

    def soon(self) -> str:
        """A schedule that only this test has. It fires once, in some minutes."""

    def wait_for_tick(self, schedule: str) -> None:
        """Returns once the schedule has fired, or is about to."""

    def callback_url(self, job_name: str, number: int = 1) -> str:
        """The ``callback_url`` of the job's notification with this number, the first of which is 1."""


class OnStandIn:
    """The stand-in. Its ticks come when the test waits for them."""

    def __init__(self, server: StageServer, manager: Manager) -> None:
        self._stage = server.stage
        self.manager = manager
        self.service_name = f"test-{uuid.uuid4().hex[:12]}"
        self.stage = "stand-in"

    def soon(self) -> str:
        """See Ground."""
        return once_at(datetime.now(UTC) + timedelta(seconds=SECONDS_UNTIL_IT_FIRES))

    def wait_for_tick(self, schedule: str) -> None:
        """See Ground."""
        self._stage.fire(schedule)

    def callback_url(self, job_name: str, number: int = 1) -> str:
        """See Ground."""
        of_job = [each for each in self._stage.notifications if each["job_name"] == job_name]
        return str(of_job[number - 1]["callback_url"])


class OnStage:
    """The local stage, with a service that is notified over SNS."""

    def __init__(self, scenario: Scenario, manager: Manager, observed: Any) -> None:
        self._observed = observed
        self.manager = manager
        self.service_name = scenario.service_name
        self.stage = "local"

    def soon(self) -> str:
        """See Ground."""
        return once_at(
            datetime.now(UTC)
            + timedelta(seconds=min(patient(SECONDS_UNTIL_IT_FIRES), MOST_SECONDS_UNTIL_IT_FIRES))
        )

    def wait_for_tick(self, schedule: str) -> None:
        """See Ground: the stage's own clock fires it."""
        minute, hour = schedule.removeprefix("cron(").split()[:2]
        now = datetime.now(UTC)
        due = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        due += timedelta(days=1) if due < now - timedelta(hours=12) else timedelta()
        time.sleep(max(0.0, (due - now).total_seconds()))

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


def once_at(at: datetime) -> str:
    """A schedule that fires at the minute of this time, once."""
    return f"cron({at.minute} {at.hour} {at.day} {at.month} ? {at.year})"


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
