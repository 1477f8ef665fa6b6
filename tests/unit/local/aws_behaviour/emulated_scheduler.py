"""The local stage's Scheduler in this process, called through boto3, with a clock that a test sets."""

import asyncio
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from ministack.services import iam, scheduler, sqs

from local.aws_behaviour.scheduler.calls import Calls
from local.aws_behaviour.scheduler.firing import Firing
from local.aws_behaviour.scheduler.requests import Response
from local.emulated_account import ACCESS_KEY, REGION, SECRET_KEY

TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class _Body(io.BytesIO):
    def stream(self, **_options: Any) -> Iterator[bytes]:
        while chunk := self.read(4096):
            yield chunk


class EmulatedScheduler:
    """Makes the calls of a test, tells the time, and has the queues and roles that schedules need."""

    def __init__(self) -> None:
        self.now = 0.0
        self._firing, self._calls = Firing(), Calls()
        self._key = ACCESS_KEY
        self.client = cast(
            Any,
            boto3.client(
                "scheduler",
                region_name=REGION,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
            ),
        )
        self.client.meta.events.register("before-send.scheduler.*", self._answer)
        self.queue = self.create_queue("jobs")
        self.dead_letters = self.create_queue("dead-letters")
        self.role = self.create_role("invokes", TRUST, "sqs:SendMessage")

    def at(self, time: str) -> None:
        """Sets the clock (ISO 8601 with offset), and lets Scheduler look at it once."""
        self.now = datetime.fromisoformat(time).timestamp()
        self._firing.look()

    def passes(self, seconds: int) -> None:
        """Lets time pass, in which Scheduler looks each second."""
        for _ in range(seconds):
            self.now += 1
            self._firing.look()

    def create(self, name: str, expression: str, **fields: Any) -> Any:
        return self.client.create_schedule(**self.fields(Name=name, ScheduleExpression=expression, **fields))

    def update(self, name: str, expression: str, **fields: Any) -> Any:
        return self.client.update_schedule(**self.fields(Name=name, ScheduleExpression=expression, **fields))

    def fields(self, **fields: Any) -> dict[str, Any]:
        """A request, whose target is the queue, with the scheduled time as its message."""
        return {"FlexibleTimeWindow": {"Mode": "OFF"}, "Target": self.target()} | fields

    def target(self, **fields: Any) -> dict[str, Any]:
        return {
            "Arn": self.queue,
            "RoleArn": self.role,
            "Input": "<aws.scheduler.scheduled-time>",
            "DeadLetterConfig": {"Arn": self.dead_letters},
        } | fields

    def schedules(self) -> list[str]:
        return [schedule["Name"] for schedule in self.client.list_schedules()["Schedules"]]

    def messages(self) -> list[str]:
        """The bodies of the messages in the queue, which it then does not have any more."""
        return [message["body"] for message in self._taken(self.queue)]

    def letters(self) -> list[dict[str, str]]:
        """The attributes of the dead letters, with ``body``."""
        return [
            {name: value["StringValue"] for name, value in message["message_attributes"].items()}
            | {"body": message["body"]}
            for message in self._taken(self.dead_letters)
        ]

    @staticmethod
    def _taken(arn: str) -> list[dict[str, Any]]:
        queue = sqs._queue_by_arn(arn)
        messages: list[dict[str, Any]] = queue["messages"] if queue else []
        if queue:
            queue["messages"] = []
        return messages

    @staticmethod
    def create_queue(name: str, **attributes: str) -> str:
        url = sqs._HANDLERS["CreateQueue"]({"QueueName": name, "Attributes": attributes}, "")["QueueUrl"]
        return str(sqs._queues[url]["attributes"]["QueueArn"])

    def create_role(self, name: str, trust: dict[str, Any], *actions: str) -> str:
        iam._create_role({"RoleName": [name], "AssumeRolePolicyDocument": [json.dumps(trust)]})
        self.allow(name, *actions)
        return str(iam._roles[name]["Arn"])

    @staticmethod
    def trust(role: str, policy: dict[str, Any]) -> None:
        """Replaces the trust policy of a role."""
        iam._roles[role]["AssumeRolePolicyDocument"] = json.dumps(policy)

    @staticmethod
    def allow(role: str, *actions: str, resource: str = "*", effect: str = "Allow") -> None:
        """Replaces the policy of a role."""
        statements = [{"Effect": effect, "Action": actions, "Resource": resource}] if actions else []
        iam._roles[role]["InlinePolicies"] = {
            "Own": json.dumps({"Version": "2012-10-17", "Statement": statements})
        }

    def as_user(self, *statements: dict[str, Any]) -> None:
        """Makes the next calls as a user who has only these statements of a policy."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam._create_user({"UserName": ["caller"]})
        iam._put_user_policy({"UserName": ["caller"], "PolicyName": ["Own"], "PolicyDocument": [policy]})
        iam._create_access_key({"UserName": ["caller"]})
        [self._key] = [key for key in iam._access_keys if key.startswith("AKIA")]

    def post(self, path: str, body: bytes) -> Response:
        """Posts what boto3 would not."""
        return self._handle("POST", path, body, {})

    def _answer(self, request: Any, **_options: Any) -> AWSResponse:
        url = urlsplit(request.url)
        query = parse_qs(url.query)
        status, headers, body = self._handle(request.method, unquote(url.path), request.body or b"", query)
        return AWSResponse(request.url, status, HTTPHeaders.from_dict(headers), _Body(body))

    def _handle(self, method: str, path: str, body: bytes, query: dict[str, list[str]]) -> Response:
        headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={self._key}/20270101/us-east-1/scheduler/"}
        original = scheduler.handle_request
        call = self._calls.handle(original, method, path, headers, body, query)
        # In a thread, because a browser test of the same process may have a loop in this one.
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(asyncio.run, call).result()
