"""Starts spread jobs later than their tick: a queue keeps them until their time.

A tick sends one message for the jobs that start at the same time, and SQS delays it, for 15 minutes at most:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
A message that comes before its time is sent again with the rest of its delay. The longest spread takes four
messages in a row. Lambda stops a chain of 16 invocations as a loop:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html

The queue also keeps executions that wait for their time under a limit: see
:mod:`jobmanager.executions.pacing`.

A message has what the index ``due`` had of its jobs, so that start_spread_executions reads nothing. A message
that is sent or delivered twice starts nothing twice: see :mod:`jobmanager.executions.start_jobs`. A tick that
is handled late starts the jobs whose time has passed at once, so it needs no message for them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from math import ceil
from typing import cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import sqs
from jobmanager.core.clock import ms_of_iso, now_ms
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.executions.pacing import Timed, start_or_send_again
from jobmanager.executions.spread import starts_at_ms
from jobmanager.executions.start_jobs import Budget, Firing, Started, start_jobs, thread_pool
from jobmanager.jobs.store import DueJob
from jobmanager.runtime.logs import logger

_LONGEST_DELAY_SECONDS = 900
_MESSAGES_PER_CALL = 10
# A job takes 300 bytes at most, so ten messages take less than 256 KiB. A call may have 1 MiB, and until 2025
# it had that: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
_JOBS_PER_MESSAGE = 80
_LONGEST_PAUSE_SECONDS = 8.0


class Message(Firing):
    """Jobs that start at the same time by a tick."""

    jobs: list[DueJob]


def start_or_delay(
    pool: ThreadPoolExecutor,
    jobs: Iterable[DueJob],
    firing: Firing,
    budget: Budget,
    have_own_traces: bool = False,
) -> Started:
    """Starts the jobs of a tick whose time has come, as :func:`start_jobs` does; first delays the others.

    What the queue does not take is sent again after that, so that nobody else waits for the queue. A delayed
    job counts as started once it is started.
    """
    scheduled_ms, at_ms = ms_of_iso(firing["scheduled_time"]), now_ms()
    now: list[DueJob] = []
    later: dict[int, list[DueJob]] = {}
    for job in jobs:
        starts_ms = starts_at_ms(job, scheduled_ms)
        (later.setdefault(starts_ms, []) if starts_ms > max(at_ms, scheduled_ms) else now).append(job)
    unsent = _send_all(pool, list(_messages(later, firing)))
    done = start_jobs(pool, now, firing, budget, have_own_traces)
    return done.plus(Started(0, _send_again(pool, unsent, budget)))


def _send_all(pool: ThreadPoolExecutor, messages: Sequence[Message]) -> list[Message]:
    """Sends messages to the queue; returns those that SQS did not take."""
    if not messages:
        return []
    sqs()  # created here and cached, so that the threads do not each create one
    calls = batched(messages, _MESSAGES_PER_CALL, strict=False)
    return [message for failed in pool.map(_send, calls) for message in failed]


def _send_again(pool: ThreadPoolExecutor, unsent: list[Message], budget: Budget) -> int:
    """Sends what SQS did not take, in rounds; returns how many jobs were not sent in the end."""
    for number in tries(None, 1.0, _LONGEST_PAUSE_SECONDS, budget.pause):
        if number:
            unsent = _send_all(pool, unsent)
        if not unsent or budget.is_used_up:
            break
    return sum(len(each["jobs"]) for each in unsent)


def start_delayed(bodies: Iterable[str], budget: Budget) -> int:
    """Starts the jobs of messages whose time has come, and delays the others again; returns how many started.

    Raises TickIncomplete if some were not started, or not sent. Then all may be delivered again.
    """
    found = [json.loads(body) for body in bodies]
    messages: list[Message] = [message for message in found if "jobs" in message]
    timed: list[Timed] = [message for message in found if "jobs" not in message]
    early = [message for message in messages if _starts_at_ms(message) > now_ms()]
    done = Started()
    for each in timed:
        start_or_send_again(each, now_ms())
    with thread_pool() as pool:
        for message in messages:
            if message not in early:
                done = done.plus(start_jobs(pool, message["jobs"], message, budget))
    for some in batched(early, _MESSAGES_PER_CALL, strict=False):
        done = done.plus(Started(0, sum(len(message["jobs"]) for message in _send(some))))
    if done.failed:
        raise TickIncomplete(
            f"{done.failed} spread jobs were not started; the message must be delivered again"
        )
    return done.started


def _messages(jobs_by_start: Mapping[int, list[DueJob]], firing: Firing) -> Iterator[Message]:
    names = (*DueJob.__required_keys__, *DueJob.__optional_keys__)
    for _, jobs in sorted(jobs_by_start.items()):
        for some in batched(jobs, _JOBS_PER_MESSAGE, strict=False):
            yield {
                "schedule": firing["schedule"],
                "scheduled_time": firing["scheduled_time"],
                "jobs": [cast(DueJob, picked(job, names)) for job in some],
            }


def _starts_at_ms(message: Message) -> int:
    return starts_at_ms(message["jobs"][0], ms_of_iso(message["scheduled_time"]))


def _send(messages: Sequence[Message]) -> list[Message]:
    """Sends up to ten messages in one call; returns those that SQS did not take."""
    at_ms = now_ms()
    try:
        answer = sqs().send_message_batch(
            QueueUrl=setting("SPREAD_QUEUE_URL"),
            Entries=[
                {
                    "Id": str(number),
                    "MessageBody": json.dumps(message, separators=(",", ":")),
                    "DelaySeconds": _delay_seconds(_starts_at_ms(message) - at_ms),
                }
                for number, message in enumerate(messages)
            ],
        )
    except (ClientError, BotoCoreError) as error:
        logger.warning("spread jobs were not sent yet", extra={"error": str(error)})
        return list(messages)
    failed = answer.get("Failed", [])
    if failed:
        logger.warning("spread jobs were not sent yet", extra={"error": failed[0].get("Message")})
    return [messages[int(entry["Id"])] for entry in failed]


def _delay_seconds(ms: int) -> int:
    return min(max(ceil(ms / 1000), 0), _LONGEST_DELAY_SECONDS)
