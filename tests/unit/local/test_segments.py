import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from local.segments import AwsCall, Segment, SegmentListener, invocations, segments_of
from tests.unit.terraform.blocks import ROOT

HEADER = b'{"format":"json","version":1}\n'


@pytest.fixture
def listener() -> Iterator[SegmentListener]:
    with SegmentListener(("127.0.0.1", 0)) as listening:
        yield listening


def document(identifier: str, name: str, start: float, **fields: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": name,
        "trace_id": "1-t",
        "start_time": start,
        "end_time": start + 1,
    } | fields


def datagram(sent: dict[str, Any]) -> bytes:
    return HEADER + json.dumps(sent).encode()


def send(listener: SegmentListener, *documents: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for each in documents:
            sender.sendto(datagram(each), listener.address)


def aws(operation: str, **parameters: Any) -> dict[str, Any]:
    return {"namespace": "aws", "aws": {"operation": operation, **parameters}}


def test_nested_subsegments_are_found() -> None:
    inner = document("2", "dynamodb", 1.0, **aws("GetItem"))
    del inner["trace_id"]
    found = list(segments_of(datagram(document("1", "f", 0.0, subsegments=[inner]))))
    assert [(each.id, each.parent_id, each.trace_id) for each in found] == [
        ("2", "1", "1-t"),
        ("1", None, "1-t"),
    ]


def test_a_segment_in_progress_is_left_out() -> None:
    running = document("1", "f", 0.0, in_progress=True)
    del running["end_time"]
    assert list(segments_of(datagram(running))) == []


def test_calls_belong_to_the_function_above_them() -> None:
    sent = [
        document("3", "dynamodb", 1.1, parent_id="2", **aws("Query", limit=51)),
        document("2", "## within", 1.0, parent_id="1", namespace="local"),
        document("4", "sns", 1.5, parent_id="1", **aws("Publish")),
        document("5", "target.example", 1.6, parent_id="1", namespace="remote"),
        document("1", "f", 0.0, parent_id="lambda", namespace="local"),
        document("7", "kms", 0.6, parent_id="6", **aws("Decrypt")),
        document("6", "g", 0.5, parent_id="lambda"),
        document("9", "sns", 0.6, parent_id="did not arrive", **aws("Publish")),
    ]
    arrived = [segment for each in sent for segment in segments_of(datagram(each))]
    first, second = invocations(arrived, ["f", "g", "h"])
    assert (first.function_name, second.function_name) == ("f", "g")
    assert first.aws_calls == (
        AwsCall("dynamodb", "Query", pytest.approx(1), {"limit": 51}),  # type: ignore[arg-type]
        AwsCall("sns", "Publish", 1.0, {}),
    )
    assert [call.operation for call in second.aws_calls] == ["Decrypt"]


def test_a_functions_own_time_is_the_time_without_a_call_under_way() -> None:
    sent = [
        document("2", "dynamodb", 1.0, parent_id="1", end_time=3.0, **aws("Query")),
        document("3", "dynamodb", 2.0, parent_id="1", end_time=2.5, **aws("Query")),
        document("4", "target.example", 2.75, parent_id="1", end_time=4.0, namespace="remote"),
        document("5", "sns", 8.0, parent_id="1", end_time=9.0, **aws("Publish")),
        document("1", "f", 0.0, parent_id="lambda", end_time=10.0, namespace="local"),
    ]
    arrived = [segment for each in sent for segment in segments_of(datagram(each))]
    [made] = invocations(arrived, ["f"])
    assert [call.id for call in made.calls] == ["2", "3", "4", "5"]
    assert made.own_seconds == pytest.approx(1 + 4 + 1)


def test_a_listener_returns_each_segment_once(listener: SegmentListener) -> None:
    send(listener, document("1", "f", 0.0), document("2", "g", 0.0))

    def has_both(arrived: list[Segment]) -> bool:
        return {each.name for each in arrived} == {"f", "g"}

    assert len(listener.take_until(has_both, 5, "f and g")) == 2
    assert listener.take() == []


def test_a_listener_that_times_out_names_the_missing_segment(listener: SegmentListener) -> None:
    with pytest.raises(TimeoutError, match=r"no segment of put_job arrived within 0\.05 s"):
        listener.take_until(bool, 0.05, "put_job")


def test_a_listener_ignores_invalid_datagrams(listener: SegmentListener) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for rubbish in (b"", b"rubbish", HEADER + b"{", HEADER + b"[]"):
            sender.sendto(rubbish, listener.address)
    send(listener, document("1", "f", 0.0))
    assert [each.id for each in listener.take_until(bool, 5, "f")] == ["1"]


def test_a_port_in_use_is_an_error(listener: SegmentListener) -> None:
    with pytest.raises(OSError, match="in use"), SegmentListener(listener.address):
        pass


def test_waiting_for_quiet_ends_when_no_segment_arrives(listener: SegmentListener) -> None:
    send(listener, document("1", "f", 0.0))
    listener.take_until(bool, 5, "f")
    listener.wait_for_quiet(0.05)
    assert listener.take() == []


# Runs in a process of its own, because the tests' process has tracing off.
FUNCTION = """
import boto3
from moto import mock_aws
from jobmanager.aws.clients import sns
from jobmanager.runtime.step import step
from tests.unit.functions.examples import lambda_context

@step
def handler(event, context):
    sns().publish(TopicArn=event["topic_arn"], Message="hello")

with mock_aws():
    handler({"topic_arn": boto3.client("sns").create_topic(Name="events")["TopicArn"]}, lambda_context())
"""


def test_the_segments_of_a_real_function_are_understood(listener: SegmentListener) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{listener.address[1]}",
        "LAMBDA_TASK_ROOT": "/var/task",
        "PATH": os.environ["PATH"],
        "POWERTOOLS_SERVICE_NAME": "test",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'functions' / '_shared'}",
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    }
    environment |= {"STAGE": "test", "METRICS_BY_FUNCTION": "false", "MEMORY_ALARM_PCT": "90"}
    environment["POWERTOOLS_METRICS_NAMESPACE"] = "test"  # used if the process takes much memory
    subprocess.run([sys.executable, "-c", FUNCTION], env=environment, cwd=ROOT, check=True)

    def has_ended(arrived: list[Segment]) -> bool:
        return any(each.name == "sjm-test-function" and each.is_local for each in arrived)

    [made] = invocations(listener.take_until(has_ended, 5, "the function"), ["sjm-test-function"])
    assert [(call.service, call.operation) for call in made.aws_calls] == [("sns", "Publish")]
    assert made.segment.trace_id == "1-5759e988-bd862e3fe1be46a994272793"
    assert made.seconds >= made.aws_calls[0].seconds > 0
