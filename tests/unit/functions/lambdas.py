"""A stand-in for Lambda: the manager's functions invoke each other, and do not wait for the answer."""

import json


class Lambdas:
    """Records the events with which one function is invoked. No other may be."""

    def __init__(self, function: str) -> None:
        self._function = function
        self.asked: list[dict[str, str]] = []

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        assert (FunctionName.rpartition(":")[2], InvocationType) == (self._function, "Event")
        self.asked.append(json.loads(Payload))
