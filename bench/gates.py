"""Holds back the work of jobs until they may end, so that other runs wait for them as long as it takes."""

import threading

from local.sample_service import Callbacks, Notification, Pause, perform

_MOST_SECONDS = 600.0


class Gates:
    """The gates of some jobs, by name. A job without a gate works at once."""

    def __init__(self) -> None:
        self._closed: dict[str, threading.Event] = {}

    def close(self, job_name: str) -> None:
        """From now on, no run of the job ends."""
        self._closed[job_name] = threading.Event()

    def open(self, job_name: str) -> None:
        """Lets the runs of the job end, those that have begun and those to come."""
        self._closed.pop(job_name).set()

    def work(self, notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        """Does what the job's payload says, behind its gate."""
        if gate := self._closed.get(str(notification["job_name"])):
            gate.wait(_MOST_SECONDS)
        perform(notification, callbacks, pause)
