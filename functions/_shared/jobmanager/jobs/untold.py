"""Publishes the events about changes of jobs that could not be published when the jobs were changed.

SNS may have failed, or the function may have died after its write. The index ``untold`` finds such jobs, also
deleted ones. A change publishes its own event within seconds, so only older ones are looked for.
"""

from collections.abc import Callable

from jobmanager.core.clock import iso
from jobmanager.core.names import split_job_key
from jobmanager.jobs import events, store
from jobmanager.runtime.logs import logger

_LEFT_FOR_MS = 60_000
# Enough for one job, even if SNS answers only after retries.
_TIME_FOR_ONE_MS = 20_000
_MAX_FAILURES = 3


def publish_untold(at_ms: int, remaining_ms: Callable[[], int]) -> int:
    """Publishes the events that are pending for longer than a minute; returns the number of jobs.

    After three jobs whose events could not be published, or when the time is nearly up, it stops. The next
    run finds the rest.
    """
    published, failures = 0, 0
    for key in store.keys_with_untold_events(iso(at_ms - _LEFT_FOR_MS)):
        if failures == _MAX_FAILURES or remaining_ms() < _TIME_FOR_ONE_MS:
            logger.warning("some job events were left for the next run")
            break
        job = store.find(*split_job_key(key))
        if job is None or "untold_events" not in job:
            continue
        if events.publish_pending(job):
            published += 1
        else:
            failures += 1
    return published
