"""What a test needs in AWS for itself: functions, state machines, rules, a queue."""

import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

from localstack_client.session import Session

from tests.integration.polling import poll

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
            "Action": "sts:AssumeRole",
        }
    ],
}
MAY_SEND = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}],
}
SENDS_ITS_EVENT = """
import boto3, json, os
def handler(event, context):
    message = {"event": event, "trace": os.environ.get("_X_AMZN_TRACE_ID")}
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(message))
    return "returned"
"""


class Workshop:
    """Creates what a test needs, and deletes it afterwards."""

    def __init__(self, aws: Any) -> None:
        self.name = f"emulator-{uuid.uuid4().hex[:12]}"
        self.iam, self.sqs, self.lambda_ = aws.client("iam"), aws.client("sqs"), aws.client("lambda")
        self.events, self.sfn = aws.client("events"), aws.client("stepfunctions")
        self.logs = aws.client("logs")
        role = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(TRUST))
        self.role: str = role["Role"]["Arn"]
        self.iam.put_role_policy(RoleName=self.name, PolicyName="Send", PolicyDocument=json.dumps(MAY_SEND))
        self.queue: str = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        self.undo: list[Callable[[], object]] = [
            lambda: self.sqs.delete_queue(QueueUrl=self.queue),
            lambda: self.iam.delete_role_policy(RoleName=self.name, PolicyName="Send"),
            lambda: self.iam.delete_role(RoleName=self.name),
        ]

    def function(self, source: str, **options: Any) -> str:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("handler.py", source)
        name = f"{self.name}-{len(self.undo)}"
        created = self.lambda_.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="handler.handler",
            Role=self.role,
            Code={"ZipFile": stream.getvalue()},
            Timeout=20,
            Environment={"Variables": {"QUEUE": self.queue}},
            **options,
        )
        self.lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
        self.undo.insert(0, lambda: self.lambda_.delete_function(FunctionName=name))
        return str(created["FunctionArn"])

    def machine(self, definition: dict[str, Any], **options: Any) -> str:
        created = self.sfn.create_state_machine(
            name=f"{self.name}-{len(self.undo)}",
            roleArn=self.role,
            definition=json.dumps({"QueryLanguage": "JSONata"} | definition),
            **options,
        )
        arn = str(created["stateMachineArn"])
        self.undo.insert(0, lambda: self.sfn.delete_state_machine(stateMachineArn=arn))
        return arn

    def waiting_machine(self, function: str, **options: Any) -> str:
        """A state machine whose task passes its token to a function and waits. The input sets its limits."""
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Arguments": {"FunctionName": function, "Payload": {"token": "{% $states.context.Task.Token %}"}},
            "HeartbeatSeconds": "{% $states.input.heartbeat %}",
            "TimeoutSeconds": "{% $states.input.timeout %}",
            "End": True,
        }
        return self.machine({"StartAt": "Wait", "States": {"Wait": task | options}})

    def express_machine(self, states: dict[str, Any], **options: Any) -> str:
        """An Express machine that starts at the first of these states, and logs errors."""
        log_group = f"/aws/vendedlogs/states/{self.name}"
        self.logs.create_log_group(logGroupName=log_group)
        self.undo.append(lambda: self.logs.delete_log_group(logGroupName=log_group))
        [group] = self.logs.describe_log_groups(logGroupNamePrefix=log_group)["logGroups"]
        logging = {
            "level": "ERROR",
            "includeExecutionData": False,
            "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group["arn"]}}],
        }
        definition = {"StartAt": next(iter(states)), "States": states} | options
        return self.machine(definition, type="EXPRESS", loggingConfiguration=logging)

    def logged(self, last: str) -> list[dict[str, Any]]:
        """What the Express machine has logged. Waits for an event of the type ``last``."""

        def found() -> list[dict[str, Any]] | None:
            events = self.logs.filter_log_events(logGroupName=f"/aws/vendedlogs/states/{self.name}")["events"]
            lines: list[dict[str, Any]] = [json.loads(event["message"]) for event in events]
            lines.sort(key=lambda line: int(line["id"]))
            return lines if any(line["type"] == last for line in lines) else None

        return poll(found, 40, f"{last} in the log")

    def http_api(self, gateway: Any, function: str, *routes: str, rate: float = 100, burst: int = 100) -> str:
        """The URL of an HTTP API with these routes, which all lead to the function."""
        api = gateway.create_api(Name=self.name, ProtocolType="HTTP")["ApiId"]
        self.undo.insert(0, lambda: gateway.delete_api(ApiId=api))
        integration = gateway.create_integration(
            ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0"
        )["IntegrationId"]
        for route in routes:
            gateway.create_route(ApiId=api, RouteKey=route, Target=f"integrations/{integration}")
        limits = {"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst}
        gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True, DefaultRouteSettings=limits)
        return f"{os.environ['AWS_ENDPOINT_URL']}/_aws/execute-api/{api}"

    def start(self, machine: str, heartbeat: float = 60, timeout: float = 120) -> str:
        limits = json.dumps({"heartbeat": heartbeat, "timeout": timeout})
        return str(self.sfn.start_execution(stateMachineArn=machine, input=limits)["executionArn"])

    def as_user(self, policy: dict[str, Any]) -> Session:
        """A session of a user who has only this policy."""
        self.iam.create_user(UserName=self.name)
        self.iam.put_user_policy(UserName=self.name, PolicyName="Own", PolicyDocument=json.dumps(policy))
        key = self.iam.create_access_key(UserName=self.name)["AccessKey"]
        self.undo += [
            lambda: self.iam.delete_access_key(UserName=self.name, AccessKeyId=key["AccessKeyId"]),
            lambda: self.iam.delete_user_policy(UserName=self.name, PolicyName="Own"),
            lambda: self.iam.delete_user(UserName=self.name),
        ]
        return Session(
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            region_name=os.environ["AWS_DEFAULT_REGION"],
        )

    def messages(self, count: int, deadline_seconds: float = 40) -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []

        def enough() -> bool:
            for message in self.sqs.receive_message(QueueUrl=self.queue).get("Messages", []):
                got.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            return len(got) >= count

        poll(enough, deadline_seconds, f"{count} messages")
        return got

    def token(self) -> str:
        return str(self.messages(1)[0]["event"]["token"])

    def ended(self, execution: str, deadline_seconds: float = 40) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            described: dict[str, Any] = self.sfn.describe_execution(executionArn=execution)
            return described if described["status"] != "RUNNING" else None

        return poll(over, deadline_seconds, "end of the execution")
