"""Writes events from their queue to the archive: to Firehose, each as one line of JSON.

A record holds as many lines as fit, because Firehose bills each record as a multiple of 5 KB:
https://aws.amazon.com/firehose/pricing/

If a record fails, the whole batch fails and SQS delivers it again. So an event may be in the archive twice.
It is also there twice if it was published twice. Readers drop duplicates by the fields of the event.
"""

import json
from collections.abc import Iterable, Iterator

from jobmanager.aws.clients import firehose
from jobmanager.core.settings import setting
from jobmanager.core.strict_json import parse

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html
MAX_BYTES = 1000 * 1024


def archive(bodies: Iterable[str]) -> int:
    """Archives the messages; returns the number of records written."""
    records = 0
    for record in packed(line(body) for body in bodies):
        firehose().put_record(DeliveryStreamName=setting("DELIVERY_STREAM"), Record={"Data": record})
        records += 1
    return records


def line(body: str) -> bytes:
    """Formats a message as one line; a text that is not a JSON object becomes ``{"message": text}``."""
    try:
        event = parse(body)
    except ValueError:
        event = body
    whole = event if isinstance(event, dict) else {"message": event}
    return f"{json.dumps(whole, ensure_ascii=False, separators=(',', ':'))}\n".encode()


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Packs the lines, in order, into records of at most MAX_BYTES."""
    record = b""
    for each in lines:
        if record and len(record) + len(each) > MAX_BYTES:
            yield record
            record = b""
        record += each
    if record:
        yield record
