"""Splits a tick of many jobs into parts, so that an invocation of its own starts the jobs of each.

One invocation is bound by its share of a core: it starts 100 to 500 jobs a second, depending on the machine.
AWS lets an account start 300 Standard and 6,000 Express executions a second:
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
So there are as many parts as the quotas need where a start is slow, and no more: parts that wait for a quota
cost money.

A part is a range of job_keys. The ranges together hold every job_key, so a job that is put while the tick is
split belongs to exactly one part. The last one has no end.
"""

from collections.abc import Iterator
from math import ceil
from typing import NotRequired

from jobmanager.executions.start_jobs import Firing
from jobmanager.jobs import store

# A tick of fewer jobs is not split: the quota's burst and one invocation start it in seconds.
MIN_JOBS = 3000
_MIN_JOBS_OF_A_PART = 2500
_MAX_STANDARD_PARTS = 4
_MAX_EXPRESS_PARTS = 40


class Tick(Firing):
    """A firing of a trigger, or a part of one.

    - ``catch_up``: it was missed, and ``scheduled_time`` is the latest of the missed times.
    - ``missed_after_ms``: all fire times after this one were missed; a rate counts from it. An earlier
      version left it out, so that only the latest is known.
    - ``found_ms``: when the reconciler found that.
    - ``caught_up_ms``: until which time the missed ticks have been caught up by another invocation.
    - ``after``: the job_key at which to continue; "" in the first part. Such a tick is not split again.
    - ``until``: the last job_key of the part.
    """

    catch_up: NotRequired[bool]
    missed_after_ms: NotRequired[int]
    found_ms: NotRequired[int]
    caught_up_ms: NotRequired[int]
    after: NotRequired[str]
    until: NotRequired[str]


def parts_of(tick: Tick, jobs: int) -> Iterator[Tick]:
    """Yields the parts of a tick, each as soon as its end is known. ``jobs``: how many are on the schedule.

    It counts the jobs of the index without fetching them.
    """
    standard_of_a_part = max(_MIN_JOBS_OF_A_PART, ceil(jobs / _MAX_STANDARD_PARTS))
    express_of_a_part = max(_MIN_JOBS_OF_A_PART, ceil(jobs / _MAX_EXPRESS_PARTS))

    def share(standard: int, express: int) -> float:
        return standard / standard_of_a_part + express / express_of_a_part

    after, standard, express = "", 0, 0
    for page in store.counts_of_due(tick["schedule"], _MIN_JOBS_OF_A_PART):
        standard += page.standard
        express += page.express
        # Another page like this one would take the part further from its size.
        if share(standard, express) + share(page.standard, page.express) / 2 >= 1:
            yield {**tick, "after": after, "until": page.last_job_key}
            after, standard, express = page.last_job_key, 0, 0
    yield {**tick, "after": after}
