"""Deletes a stage's history before a day, earlier than the stage's retention would.

    terraform output -json | python -m tools.purge --before 2026-01-01 [--service billing] [--dry-run]

Reads the stage's Terraform outputs from standard input, as `terraform output -json` or
`make outputs ARGS=--all` prints them. Deletes the records of executions whose scheduled_time is before that
day, of one service or of all. It deletes neither jobs, nor the last results that jobs store, nor Step
Functions' own history.

It never deletes an open execution. It reads each record consistently first, and deletes it only if it is
closed. A closed record is opened again only in the seconds after a skip, if its event could not be published.
So it deletes up to 25 records a request, without a condition.
It deletes the large payload and state of a record before the record, so that another run finds what is left.

It scans nothing. The index by_day has partitions of a day. Without ``--since``, it begins on the day before
the table was created, or, if the table was restored from a backup, at the first day of which the longest
possible retention could have kept a record. You may run it at any time, beside a working
stage, and again: it goes from the oldest to the newest record, and finds only what is left. If the tick of a
purged execution is delivered again, it starts nothing: Step Functions remembers the names of executions for
90 days, and a dead-letter queue keeps ticks for 14.
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html

Permissions: dynamodb:DescribeTable, dynamodb:Query, dynamodb:BatchGetItem and dynamodb:BatchWriteItem on the
executions table and its indexes. A record of up to 1 KB costs one read unit and three write units, two of
them for its indexes.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import day, now_ms, stamp
from jobmanager.executions.large_values import missing
from jobmanager.executions.record import FINAL_STATUSES, Execution, day_shard
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
# If DynamoDB leaves requests unprocessed this many times in a row, throttling is not the only cause.
MOST_ATTEMPTS = 12

_KEY = ("job_guid", "execution_id")
_HASHES = ("payload_sha256", "state_sha256")
DAY_MS = 86_400_000
# The longest execution_retention_days, the longest max_duration_seconds, and some days until DynamoDB deletes
# expired records.
OLDEST_DAYS = 3650 + 30 + 10


class PurgeError(Exception):
    """The purge stopped. The message says why. Records that it deleted before stay deleted."""


@dataclass(frozen=True)
class Partition:
    """A partition of an index, sorted by time. Reports call it ``name``."""

    name: str
    index: str
    key: str
    value: str


@dataclass
class Counts:
    """The closed records, which are deleted unless it is a dry run, and the open ones, which stay."""

    closed: int = 0
    still_open: int = 0

    def add(self, other: "Counts") -> None:
        """Adds the counts of another partition."""
        self.closed += other.closed
        self.still_open += other.still_open


class Purge:
    """Deletes a stage's records with ``since_ms <= scheduled_time < before_ms``."""

    def __init__(self, outputs: Json, since_ms: int | None, before_ms: int, dry_run: bool) -> None:
        self.table: str = outputs["executions_table_name"]
        self.shards: int = outputs["index_shards_to_read"]
        self.before_ms, self.dry_run = before_ms, dry_run
        config = Config(retries={"mode": "adaptive", "total_max_attempts": 8}, max_pool_connections=AT_ONCE)
        session = boto3.Session(region_name=outputs["state_machine_arn"].split(":")[3])
        self.dynamodb: DynamoDBClient = session.client("dynamodb", config=config)
        self.since_ms = min(self._oldest_ms(), before_ms) if since_ms is None else since_ms

    def _oldest_ms(self) -> int:
        """The earliest scheduled_time that a record of the table may have."""
        oldest = now_ms() - OLDEST_DAYS * DAY_MS
        table = self.dynamodb.describe_table(TableName=self.table)["Table"]
        if "RestoreSummary" in table:  # its records are older than the table
            return oldest
        return max(oldest, round(table["CreationDateTime"].timestamp() * 1000) - DAY_MS)

    def all_services(self, report: Callable[[str], None]) -> Counts:
        """Purges the history of all services, and reports each day that had records."""
        first = self.since_ms - self.since_ms % DAY_MS
        days = range(first, self.before_ms, DAY_MS)
        partitions = [
            Partition(day(at_ms), "by_day", "day_shard", day_shard(at_ms, number))
            for at_ms in days
            for number in range(self.shards)
        ]
        return self._partitions(partitions, report)

    def one_service(self, service_name: str, report: Callable[[str], None]) -> Counts:
        """Purges the history of one service, which is one partition of the index by_service."""
        return self._partitions([Partition(service_name, "by_service", "service_name", service_name)], report)

    def _partitions(self, partitions: Sequence[Partition], report: Callable[[str], None]) -> Counts:
        """Purges partitions in parallel, and reports the sum of neighbours that share a name."""
        total, same_name = Counts(), Counts()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                counted = pool.map(self._partition, partitions)
                for number, (partition, counts) in enumerate(zip(partitions, counted, strict=True), 1):
                    total.add(counts)
                    same_name.add(counts)
                    if number == len(partitions) or partitions[number].name != partition.name:
                        if same_name != Counts():
                            report(f"{partition.name}: {self.summary(same_name)}")
                        same_name = Counts()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return total

    def summary(self, counts: Counts) -> str:
        """The counts as text, for example ``executions deleted: 12; open ones that stay: 2``."""
        done = "executions that would be deleted" if self.dry_run else "executions deleted"
        stay = f"; open ones that stay: {counts.still_open}" if counts.still_open else ""
        return f"{done}: {counts.closed}{stay}"

    def _partition(self, partition: Partition) -> Counts:
        counts = Counts()
        for found in batched(self._keys(partition), MOST_READ, strict=False):
            closed, values, still_open = self._read(found)
            counts.add(Counts(len(closed), still_open))
            if not self.dry_run:
                for keys in (values, closed):
                    for some in batched(keys, MOST_WRITTEN, strict=False):
                        self._delete(some)
        return counts

    def _keys(self, partition: Partition) -> Iterator[Json]:
        """The keys of the records in the partition, oldest first."""
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
        # BETWEEN includes its bounds. A time_key is longer than a stamp, so none equals `:before`.
        for page in pages:
            yield from page["Items"]

    def _read(self, keys: Sequence[Json]) -> tuple[list[Json], list[Json], int]:
        """The keys of the closed records and of their large values, and the number of open records.

        Other records no longer exist.
        """
        closed: list[Json] = []
        values: list[Json] = []
        still_open = 0
        pending: Any = {
            self.table: {
                "Keys": list(keys),
                "ConsistentRead": True,
                "ProjectionExpression": ", ".join((*_KEY, "#status", "settled_at_ms", *_HASHES)),
                "ExpressionAttributeNames": {"#status": "status"},
            }
        }
        for _ in _attempts():
            answer = self.dynamodb.batch_get_item(RequestItems=pending)
            for item in answer["Responses"].get(self.table, []):
                if item["status"]["S"] in FINAL_STATUSES and "settled_at_ms" in item:
                    closed.append({name: item[name] for name in _KEY})
                    record = cast(Execution, from_item(item))
                    values += [to_item(key) for _, key in missing(record, ("payload", "state"))]
                else:
                    still_open += 1
            pending = answer.get("UnprocessedKeys")
            if not pending:
                break
        return closed, values, still_open

    def _delete(self, keys: Iterable[Json]) -> None:
        pending: Any = {self.table: [{"DeleteRequest": {"Key": key}} for key in keys]}
        for _ in _attempts():
            pending = self.dynamodb.batch_write_item(RequestItems=pending).get("UnprocessedItems")
            if not pending:
                break


def _attempts() -> Iterator[None]:
    """Yields once for each attempt, with growing pauses between. Raises PurgeError after the last."""
    for attempt in range(MOST_ATTEMPTS):
        yield
        time.sleep(random.uniform(0, min(0.05 * 2**attempt, LONGEST_PAUSE_SECONDS)))
    raise PurgeError(
        f"DynamoDB left requests unprocessed {MOST_ATTEMPTS} times in a row. Run this again later; it"
        " continues where it stopped."
    )


def time_of(text: str) -> int:
    """Parses ``2026-01-01`` or ``2026-01-01T12:00:00Z`` to ms since 1970. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if "T" in text or " " in text:
            raise ValueError("a time needs a zone, such as Z")
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1000


def _time(text: str) -> int:
    try:
        return time_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a day such as 2026-01-01 nor a time such as 2026-01-01T12:00:00Z"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser("python -m tools.purge", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--before", type=_time, required=True, help="delete what was scheduled before this day or time in UTC"
    )
    parser.add_argument(
        "--since",
        type=_time,
        help="delete nothing scheduled before this day or time (default: when the table was created)",
    )
    parser.add_argument("--service", help="delete only the history of this service_name")
    parser.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
    options = parser.parse_args(arguments)
    if options.before > now_ms():
        parser.error("--before must not be in the future")
    if options.since is not None and options.since >= options.before:
        parser.error("--since must be earlier than --before")
    try:
        outputs = values_of(json.load(sys.stdin))
        purge = Purge(outputs, options.since, options.before, options.dry_run)
        prefix = outputs["prefix"]
    except (ValueError, KeyError, AttributeError):
        parser.error("expected a stage's Terraform outputs on standard input, from: terraform output -json")
    counts = purge.one_service(options.service, print) if options.service else purge.all_services(print)
    whose = f"{prefix}, service {options.service}" if options.service else prefix
    print(f"{whose}: {purge.summary(counts)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PurgeError as error:
        sys.exit(str(error))
