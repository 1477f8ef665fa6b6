"""Writes JSON that every service of AWS passes on.

SQS refuses U+FFFE and U+FFFF, so an SNS message that contains one would not reach its queue:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
As escapes they are ASCII. JSON escapes the control characters anyway.
"""

import json
from typing import Any

_ESCAPES = {0xFFFE: r"\ufffe", 0xFFFF: r"\uffff"}


def dumps(value: Any) -> str:
    """Returns a value as JSON in Unicode, with escapes for characters that SQS refuses."""
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
