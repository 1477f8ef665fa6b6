"""archive_events: writes each event of the queue to the archive, as a line of JSON."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.archive_events.handler import handler
from jobmanager.core.errors import AwsCallFailed
from jobmanager.delivery import archive as archiver
from jobmanager.delivery.archive import MAX_BYTES
from tests.unit.functions.examples import lambda_context


class Firehose:
    """A delivery stream that keeps its records, or fails with ``error``."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.error: Exception | None = None

    def put_record(self, DeliveryStreamName: str, Record: dict[str, bytes]) -> None:
        assert DeliveryStreamName == "archive"
        if self.error:
            raise self.error
        self.records.append(Record["Data"])


@pytest.fixture
def firehose(monkeypatch: pytest.MonkeyPatch) -> Firehose:
    monkeypatch.setenv("DELIVERY_STREAM", "archive")
    stream = Firehose()
    monkeypatch.setattr(archiver, "firehose", lambda: stream)
    return stream


def queued(*bodies: Any) -> dict[str, Any]:
    return {"Records": [{"body": body if isinstance(body, str) else json.dumps(body)} for body in bodies]}


def test_a_batch_is_one_record_with_a_line_for_each_event(firehose: Firehose) -> None:
    events = [{"event": "execution.failed", "summary": "two\nlines, ü"}, {"event": "job.created"}]

    handler(queued(json.dumps(events[0], indent=2), events[1]), lambda_context())

    (record,) = firehose.records
    assert record.endswith(b"\n")
    assert [json.loads(line) for line in record.splitlines()] == events
    assert "ü".encode() in record


@pytest.mark.parametrize("body", ["plain text", "[1, 2]", '"a text"', '{"n": NaN}', "{"])
def test_a_body_that_is_not_an_object_is_wrapped_in_one(firehose: Firehose, body: str) -> None:
    handler(queued(body), lambda_context())

    (line,) = firehose.records[0].splitlines()
    assert json.loads(line).keys() == {"message"}


def test_no_record_exceeds_the_limit_of_firehose(firehose: Firehose) -> None:
    events = [{"event": str(number), "filler": "x" * 255_000} for number in range(9)]

    handler(queued(*events), lambda_context())

    assert len(firehose.records) == 3
    assert all(len(record) <= MAX_BYTES for record in firehose.records)
    assert [json.loads(line) for record in firehose.records for line in record.splitlines()] == events


def test_a_record_that_firehose_refuses_fails_the_batch(firehose: Firehose) -> None:
    """SQS then delivers the batch again."""
    firehose.error = ClientError({"Error": {"Code": "ServiceUnavailableException"}}, "PutRecord")

    with pytest.raises(AwsCallFailed):
        handler(queued({"event": "job.created"}), lambda_context())
