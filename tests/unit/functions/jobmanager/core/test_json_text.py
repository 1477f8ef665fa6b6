"""Messages hold only characters that SQS passes on."""

import json
import re
from typing import Any

import pytest

from jobmanager.api.fields import size_error
from jobmanager.aws import topics
from jobmanager.delivery.notification import encoded

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
SQS_REFUSES = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TEXT = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10100), 0x1FFFE, 0x10FFFF)))


def test_any_text_of_a_notification_passes_through_sqs_unchanged() -> None:
    text = encoded({TEXT: [TEXT]}).decode()
    assert SQS_REFUSES.search(TEXT)
    assert not SQS_REFUSES.search(text)
    assert json.loads(text) == {TEXT: [TEXT]}


def test_any_text_of_an_event_passes_through_sqs_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []

    class Sns:
        def publish(self, **request: Any) -> None:
            published.append(request["Message"])

    monkeypatch.setenv("EVENTS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:events")
    topics.publish(Sns(), {"event": "job.created", "summary": TEXT})  # type: ignore[arg-type]
    assert not SQS_REFUSES.search(published[0])
    assert json.loads(published[0])["summary"] == TEXT


def test_the_size_of_a_field_counts_these_escapes() -> None:
    (error,) = size_error("/payload", "\uffff" * 1000 + "\x01" * 100, 3200)
    assert "as JSON, not 6602" in error["detail"]
