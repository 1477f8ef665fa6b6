"""Publishes the events about changes of jobs that could not be published when the jobs were changed.

SNS may have failed, or the function may have died after its write. The index ``untold`` finds such jobs, also
deleted ones. A change publishes its own event within seconds, so only older ones are looked for.
"""

from collections import Counter
from collections.abc import Callable
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import iso
from jobmanager.core.errors import AwsCallFailed
from jobmanager.core.names import split_job_key
from jobmanager.jobs import events, store
from jobmanager.runtime.logs import logger

_LEFT_FOR_MS = 60_000
# Enough for one job, even if SNS answers only after retries.
_TIME_FOR_ONE_MS = 20_000
_MAX_FAILURES = 3


type _Told = Literal["told", "left", "refused", "failed"]


def publish_untold(at_ms: int, remaining_ms: Callable[[], int]) -> int:
    """Publishes the events that are pending for longer than a minute; returns the number of jobs.

    After three jobs whose events could not be published, or when the time is nearly up, it stops. The next
    run finds the rest. A malformed job is logged, and does not stop the others; AwsCallFailed is raised at
    the end.
    """
    done: Counter[_Told] = Counter()
    for key in store.keys_with_untold_events(iso(at_ms - _LEFT_FOR_MS)):
        if done["refused"] == _MAX_FAILURES or remaining_ms() < _TIME_FOR_ONE_MS:
            logger.warning("some job events were left for the next run")
            break
        done[_publish_or_log(key)] += 1
    if done["failed"]:
        raise AwsCallFailed(f"the events of {done['failed']} jobs were not published; the next run retries")
    return done["told"]


def _publish_or_log(job_key: str) -> _Told:
    try:
        job = store.find_without_large_values(*split_job_key(job_key))
        if job is None or "untold_events" not in job:
            return "left"
        return "told" if events.publish_pending(job) else "refused"
    except (ClientError, BotoCoreError):
        raise
    except Exception as error:
        extra = {"job_key": job_key, "error": repr(error)}
        logger.error("job events were not published", extra=extra, exc_info=True)
        return "failed"
