"""How events reach the archive: from their queue to Firehose, each as one line of JSON.

As many lines as fit go into one record, because Firehose bills each record as a multiple of 5 KB:
https://aws.amazon.com/firehose/pricing/

If a record fails, the whole batch fails: SQS delivers it again, and an event may be in the archive twice. So
may an event that was published twice; whoever reads the archive drops duplicates by what the event says.
"""

import json
from collections.abc import Iterable, Iterator

from jobmanager.aws.clients import firehose
from jobmanager.core.settings import setting
from jobmanager.core.strict_json import parse

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html
MOST_BYTES = 1000 * 1024


def archive(bodies: Iterable[str]) -> int:
    """Archives the messages; answers how many records they made."""
    records = 0
    for record in packed(line(body) for body in bodies):
        firehose().put_record(DeliveryStreamName=setting("DELIVERY_STREAM"), Record={"Data": record})
        records += 1
    return records


def line(body: str) -> bytes:
    """A message on one line; what is no JSON object becomes the ``message`` of one."""
    try:
        event = parse(body)
    except ValueError:
        event = body
    whole = event if isinstance(event, dict) else {"message": event}
    return f"{json.dumps(whole, ensure_ascii=False, separators=(',', ':'))}\n".encode()


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, in order, in records of at most MOST_BYTES."""
    record = b""
    for each in lines:
        if record and len(record) + len(each) > MOST_BYTES:
            yield record
            record = b""
        record += each
    if record:
        yield record
