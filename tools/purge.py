"""Deletes the history of a stage before a day, sooner than its retention would.

    terraform output -json | python -m tools.purge --before 2026-01-01 [--service billing] [--dry-run]

Reads the stage's Terraform outputs, as `terraform output -json` or `make outputs` prints them, from standard
input. Deletes the records of executions whose scheduled_time lies before that, of one service or of all; the
jobs, what they remember of their last executions, and Step Functions' own history stay. Open executions are
never touched: a record is read, consistently, before it is deleted, and only a closed one is; as none is ever
opened again, it may then be deleted without a condition, 25 a request.

Nothing is scanned. The history of all lies in partitions of a day, and how far back there may be any is known
from the longest retention that a stage may have; ``--since`` says so better. Safe to run at any time, beside
whatever the stage does, and twice: it goes from the oldest to the newest, and finds only what is left. A tick
that was purged and comes again starts nothing: Step Functions keeps the names of executions for 90 days, and
a dead-letter queue keeps ticks for 14.
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html

Whoever runs it needs dynamodb:Query, dynamodb:BatchGetItem and dynamodb:BatchWriteItem on the executions
table and its indexes. A record of up to 1 KB costs a read unit, and three write units: two are its indexes'.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from jobmanager.aws.items import to_item
from jobmanager.core.clock import day, now_ms, stamp
from jobmanager.executions.record import FINAL_STATUSES, SHARDS_OF_A_DAY, day_shard
from tools.redrive import values_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Json = dict[str, Any]

AT_ONCE = 8
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MOST_READ = 100
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
MOST_WRITTEN = 25
LONGEST_PAUSE_SECONDS = 20.0
# What DynamoDB leaves unprocessed this often in a row is not throttled only.
MOST_ATTEMPTS = 12

DAY_MS = 86_400_000
# The longest execution_retention_days of a stage, the longest max_duration_seconds, and some days until
# DynamoDB has deleted what expired.
OLDEST_DAYS = 3650 + 30 + 10


class PurgeError(Exception):
    """The purge cannot go on; says why. What was deleted until then stays deleted."""


@dataclass(frozen=True)
class Partition:
    """A part of the history that is sorted by time, and how to call it when it is told of."""

    name: str
    index: str
    key: str
    value: str


@dataclass
class Counts:
    """What was found: closed records, deleted unless it is a rehearsal, and open ones, which stay."""

    closed: int = 0
    still_open: int = 0

    def add(self, other: "Counts") -> None:
        """Adds what was found elsewhere."""
        self.closed += other.closed
        self.still_open += other.still_open


class Purge:
    """Deletes from the history of one stage what lies in ``since <= scheduled_time < before``, both in ms."""

    def __init__(self, outputs: Json, since_ms: int, before_ms: int, dry_run: bool) -> None:
        self.table: str = outputs["executions_table_name"]
        self.since_ms, self.before_ms, self.dry_run = since_ms, before_ms, dry_run
        config = Config(retries={"mode": "adaptive", "total_max_attempts": 8}, max_pool_connections=AT_ONCE)
        session = boto3.Session(region_name=outputs["state_machine_arn"].split(":")[3])
        self.dynamodb: DynamoDBClient = session.client("dynamodb", config=config)

    def of_all(self, tell: Callable[[str], None]) -> Counts:
        """Day by day, each in parallel; tells of each day that had anything."""
        first = self.since_ms - self.since_ms % DAY_MS
        days = range(first, self.before_ms, DAY_MS)
        partitions = [
            Partition(day(at_ms), "by_day", "day_shard", day_shard(at_ms, number))
            for at_ms in days
            for number in range(SHARDS_OF_A_DAY)
        ]
        return self._of(partitions, tell)

    def of_service(self, service_name: str, tell: Callable[[str], None]) -> Counts:
        """The history of one service, which is one partition of its own index."""
        return self._of([Partition(service_name, "by_service", "service_name", service_name)], tell)

    def _of(self, partitions: Sequence[Partition], tell: Callable[[str], None]) -> Counts:
        everything, told = Counts(), Counts()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                counted = pool.map(self._partition, partitions)
                for number, (partition, counts) in enumerate(zip(partitions, counted, strict=True), 1):
                    everything.add(counts)
                    told.add(counts)
                    if number == len(partitions) or partitions[number].name != partition.name:
                        if told != Counts():
                            tell(f"{partition.name}: {self.words(told)}")
                        told = Counts()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return everything

    def words(self, counts: Counts) -> str:
        """``executions deleted: 12; open ones that stay: 2``."""
        done = "executions that would be deleted" if self.dry_run else "executions deleted"
        stay = f"; open ones that stay: {counts.still_open}" if counts.still_open else ""
        return f"{done}: {counts.closed}{stay}"

    def _partition(self, partition: Partition) -> Counts:
        counts = Counts()
        for found in batched(self._keys(partition), MOST_READ, strict=False):
            closed, still_open = self._read(found)
            counts.add(Counts(len(closed), still_open))
            if not self.dry_run:
                for keys in batched(closed, MOST_WRITTEN, strict=False):
                    self._delete(keys)
        return counts

    def _keys(self, partition: Partition) -> Iterator[Json]:
        """The keys of what lies in the partition, oldest first, as the index knows it."""
        values = {
            ":partition": partition.value,
            ":since": stamp(self.since_ms),
            ":before": stamp(self.before_ms),
        }
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            IndexName=partition.index,
            KeyConditionExpression=f"{partition.key} = :partition AND time_key BETWEEN :since AND :before",
            ProjectionExpression="job_guid, execution_id",
            ExpressionAttributeValues=to_item(values),
        )
        # A time_key is a stamp and more, so that none equals `before`.
        for page in pages:
            yield from page["Items"]

    def _read(self, keys: Sequence[Json]) -> tuple[list[Json], int]:
        """The keys of the records that are closed, and how many are open; others are gone meanwhile."""
        closed, still_open = [], 0
        pending: Any = {
            self.table: {
                "Keys": list(keys),
                "ConsistentRead": True,
                "ProjectionExpression": "job_guid, execution_id, #status, open_shard",
                "ExpressionAttributeNames": {"#status": "status"},
            }
        }
        for _ in _attempts():
            answer = self.dynamodb.batch_get_item(RequestItems=pending)
            for item in answer["Responses"].get(self.table, []):
                if item["status"]["S"] in FINAL_STATUSES and "open_shard" not in item:
                    closed.append({name: item[name] for name in ("job_guid", "execution_id")})
                else:
                    still_open += 1
            pending = answer.get("UnprocessedKeys")
            if not pending:
                break
        return closed, still_open

    def _delete(self, keys: Iterable[Json]) -> None:
        pending: Any = {self.table: [{"DeleteRequest": {"Key": key}} for key in keys]}
        for _ in _attempts():
            pending = self.dynamodb.batch_write_item(RequestItems=pending).get("UnprocessedItems")
            if not pending:
                break


def _attempts() -> Iterator[None]:
    """Once for each attempt, the next after a pause, each longer; raises PurgeError after the last."""
    for attempt in range(MOST_ATTEMPTS):
        yield
        time.sleep(random.uniform(0, min(0.05 * 2**attempt, LONGEST_PAUSE_SECONDS)))
    raise PurgeError(
        "DynamoDB leaves requests unprocessed again and again. Run this again later; it goes on."
    )


def time_of(text: str) -> int:
    """``2026-01-01``, or ``2026-01-01T12:00:00Z``, in ms since 1970; raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if "T" in text or " " in text:
            raise ValueError("a time must say its zone")
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1000


def _time(text: str) -> int:
    try:
        return time_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no day such as 2026-01-01, or time such as 2026-01-01T12:00:00Z"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("python -m tools.purge", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--before", type=_time, required=True, help="a day or a time in UTC; itself not included"
    )
    parser.add_argument("--since", type=_time, help="nothing before that either (default: ten years ago)")
    parser.add_argument("--service", help="only the history of this service_name")
    parser.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
    options = parser.parse_args(arguments)
    if options.before > now_ms():
        parser.error("--before must not lie in the future")
    oldest = now_ms() - timedelta(days=OLDEST_DAYS) // timedelta(milliseconds=1)
    since = oldest if options.since is None else options.since
    if since >= options.before:
        parser.error("--since must lie before --before")
    try:
        outputs = values_of(json.load(sys.stdin))
        purge = Purge(outputs, since, options.before, options.dry_run)
        prefix = outputs["prefix"]
    except (ValueError, KeyError, AttributeError):
        parser.error("expected a stage's Terraform outputs on standard input, from: terraform output -json")
    counts = purge.of_service(options.service, print) if options.service else purge.of_all(print)
    whose = f"{prefix}, service {options.service}" if options.service else prefix
    print(f"{whose}: {purge.words(counts)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PurgeError as error:
        sys.exit(str(error))
