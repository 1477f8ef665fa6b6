"""Applies the modules that subscribe to the events topic, beside the stage, with a test's own subscribers."""

import gzip
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import threading
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from localstack_client.session import Session

from local.terraform_provider import chosen_provider, provider_blocks
from tests.integration.polling import poll

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/integration/event_forks"

type Json = dict[str, Any]

SENDS_ITS_EVENT = """
import boto3, json, os
def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
"""
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


class Terraform:
    """A copy of a test's configuration, with its own state."""

    def __init__(self, directory: Path, outputs: Json, prefix: str, here: str = HERE) -> None:
        """Copies the configuration in ``here``. TF_CLI_CONFIG_FILE must say where the provider is."""
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
        for part in ("terraform/modules", here):
            shutil.copytree(ROOT / part, directory / part, ignore=ignored)
        self._here = directory / here
        (self._here / "provider.tf").write_text(provider_blocks(chosen_provider()))
        packaged = {"packages_dir": str(ROOT / "build" / "local")}
        self._variables: Json = {
            "endpoint": os.environ["AWS_ENDPOINT_URL"],
            "region": os.environ["AWS_DEFAULT_REGION"],
            "prefix": prefix,
            "events_topic_arn": outputs["events_topic_arn"],
            "alarms_topic_arn": outputs["alarms_topic_arn"],
            "function_defaults": outputs["function_defaults"] | packaged,
        }
        self.run("init")

    def apply(self, *modules: str, **variables: Any) -> Json:
        """Changes these variables and applies these modules, or all. Returns the outputs."""
        self._variables |= variables
        (self._here / "test.auto.tfvars.json").write_text(json.dumps(self._variables))
        only = [f"-target=module.{module}" for module in modules]
        self.run("apply", "-auto-approve", "-refresh=false", "-parallelism=50", *only)
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}

    def destroy(self) -> None:
        self.run("destroy", "-auto-approve", "-refresh=false", "-parallelism=50")

    def run(self, command: str, *arguments: str) -> str:
        options = [] if command in ("output", "show") else ["-input=false"]
        done = subprocess.run(
            ["terraform", command, *options, *arguments, "-no-color"],
            cwd=self._here,
            env={name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"terraform {command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


class Listener:
    """An HTTP endpoint that confirms its subscription, as a service does, and keeps received events."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.confirmed = threading.Event()
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self.send_response(200)
                self.end_headers()
                if self.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation":
                    # The stage confirms subscriptions at its own address.
                    query = json.loads(body)["SubscribeURL"].partition("?")[2]
                    with urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/?{query}", timeout=30):
                        listener.confirmed.set()
                else:
                    listener.received.append(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Forks:
    """A test's service, queues, function and URL, with AWS clients to look at them."""

    def __init__(self, aws: Any, outputs: Json, directory: Path) -> None:
        self.aws = aws
        self.topic_arn = outputs["events_topic_arn"]
        self.prefix = f"forks-{uuid.uuid4().hex[:8]}"
        self.service_name = f"test-{self.prefix}"
        self.sqs = aws.client("sqs")
        self.undo: list[Callable[[], object]] = []
        self._archived: dict[str, list[Json]] = {}
        self.terraform = Terraform(directory, outputs, self.prefix)
        self.listener = Listener()
        self.undo.append(self.listener.close)

    def close(self) -> None:
        """Deletes everything that the test created."""
        try:
            self.terraform.destroy()
        finally:
            for undo in reversed(self.undo):
                undo()

    def subscriptions(self) -> list[Json]:
        """The subscriptions of the events topic that belong to the test."""
        pages = self.aws.client("sns").get_paginator("list_subscriptions_by_topic")
        found = pages.paginate(TopicArn=self.topic_arn).build_full_result()["Subscriptions"]
        return [
            each for each in found if self.prefix in each["Endpoint"] or each["Endpoint"] == self.listener.url
        ]

    def leave_out_others(self) -> None:
        """Keeps the events of other tests' services out of the archive and of the queue for a replay.

        There are thousands, and each costs an invocation. ``apply`` does not refresh, so the filter stays.
        """
        sns, own = self.aws.client("sns"), {"service_name": [self.service_name, {"exists": False}]}
        for each in self.subscriptions():
            if each["Endpoint"].endswith(("-event-archive", "-event-replay")):
                sns.set_subscription_attributes(
                    SubscriptionArn=each["SubscriptionArn"],
                    AttributeName="FilterPolicy",
                    AttributeValue=json.dumps(own),
                )

    def queue(self, name: str) -> Json:
        """Creates a queue. Returns its id and ARN, as a Terraform resource has them."""
        url = self.sqs.create_queue(QueueName=f"{self.prefix}-{name}")["QueueUrl"]
        self.undo.append(lambda: self.sqs.delete_queue(QueueUrl=url))
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return {"id": url, "arn": attributes["QueueArn"]}

    def function(self, queue: Json) -> Json:
        """Creates a function that sends each of its events to the queue."""
        iam, lambdas, name = self.aws.client("iam"), self.aws.client("lambda"), f"{self.prefix}-subscriber"
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue["arn"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="Send", PolicyDocument=policy)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("handler.py", SENDS_ITS_EVENT)
        created = lambdas.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="handler.handler",
            Role=role,
            Code={"ZipFile": stream.getvalue()},
            Timeout=20,
            Environment={"Variables": {"QUEUE": queue["id"]}},
        )
        lambdas.get_waiter("function_active_v2").wait(FunctionName=name)
        self.undo += [
            lambda: iam.delete_role(RoleName=name),
            lambda: iam.delete_role_policy(RoleName=name, PolicyName="Send"),
            lambda: lambdas.delete_function(FunctionName=name),
        ]
        return {"arn": created["FunctionArn"]}

    def receive(self, url: str, count: int, text: str, seconds: float = 30) -> list[Json]:
        """Receives and deletes messages until ``count`` of them contain the text. Returns those."""
        found: list[Json] = []

        def look() -> bool:
            got = self.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            ).get("Messages", [])
            found.extend(message for message in got if text in message["Body"])
            for message in got:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return len(found) >= count

        poll(look, seconds, f"{count} messages with {text}")
        return found

    def waiting(self, url: str) -> int:
        """How many messages a queue holds, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def archived(self, bucket: str) -> dict[str, list[Json]]:
        """The archived events of the test's service, by object.

        Reads only objects that are new since the call before.
        """
        s3 = self.aws.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="events/")
        for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
            if key not in self._archived:
                body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                events = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                self._archived[key] = [
                    event for event in events if event.get("service_name") == self.service_name
                ]
        return {key: own for key, own in self._archived.items() if own}

    def analyst(self, policy_arn: str) -> Session:
        """A session of a user who has only that policy."""
        iam, name = self.aws.client("iam"), f"{self.prefix}-analyst"
        iam.create_user(UserName=name)
        iam.attach_user_policy(UserName=name, PolicyArn=policy_arn)
        key = iam.create_access_key(UserName=name)["AccessKey"]

        def forget() -> None:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
            iam.detach_user_policy(UserName=name, PolicyArn=policy_arn)
            iam.delete_user(UserName=name)

        self.forget_analyst = forget
        return Session(
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            region_name=os.environ["AWS_DEFAULT_REGION"],
        )


def answers(session: Session, workgroup: str, name: str) -> list[dict[str, str | None]]:
    """Runs a saved query of the workgroup. Returns its rows, by column.

    Other tests run many jobs on the stage at the same time, so the query runs without its limit of rows.
    """
    athena = session.client("athena")
    ids = athena.list_named_queries(WorkGroup=workgroup)["NamedQueryIds"]
    saved = [athena.get_named_query(NamedQueryId=each)["NamedQuery"] for each in ids]
    (query,) = (each for each in saved if each["Name"] == name)
    started = athena.start_query_execution(
        QueryString=re.sub(r"^LIMIT \d+$", "", query["QueryString"], flags=re.MULTILINE),
        QueryExecutionContext={"Database": query["Database"]},
        WorkGroup=workgroup,
    )["QueryExecutionId"]

    def ended() -> Json | None:
        found: Json = athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]
        return found if found["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None

    execution = poll(ended, 60, f"an answer to {name}")
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    pages = athena.get_paginator("get_query_results").paginate(QueryExecutionId=started)
    rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
    columns = [cell["VarCharValue"] for cell in rows[0]]
    return [
        {column: cell.get("VarCharValue") for column, cell in zip(columns, row, strict=True)}
        for row in rows[1:]
    ]
