import json
import subprocess
import sys

import pytest

from tests.unit.terraform.blocks import ROOT

TRACE = "1-5759e988-bd862e3fe1be46a994272793"

# Runs in a process of its own, because the tests' process has tracing off and is not in Lambda.
SENDS = """
import json, sys
from aws_xray_sdk.core import xray_recorder
from jobmanager.runtime.tracing import web_request

with xray_recorder.in_subsegment("function"):
    with web_request("POST", "https://billing.example:8443/jobs/nightly?key=secret") as request:
        request.record_status(202)
        current = xray_recorder.current_subsegment()
        seen = {"id": current.id, "http": current.http} if current else {}
        print(json.dumps({"headers": request.headers, **seen}))
"""


def sent(trace_header: str | None) -> dict[str, object]:
    environment = {"LAMBDA_TASK_ROOT": "/var/task", "PYTHONPATH": str(ROOT / "functions" / "_shared")}
    if trace_header is not None:
        environment["_X_AMZN_TRACE_ID"] = trace_header
    environment["AWS_XRAY_DAEMON_ADDRESS"] = "127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-c", SENDS], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_web_request_names_its_own_subsegment_as_the_parent() -> None:
    found = sent(f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0")

    assert found["headers"] == {"x-amzn-trace-id": f"Root={TRACE};Parent={found['id']};Sampled=1"}
    assert found["http"] == {
        "request": {"method": "POST", "url": "https://billing.example:8443/jobs/nightly"},
        "response": {"status": 202},
    }


def test_the_trace_header_says_if_the_trace_is_not_recorded() -> None:
    found = sent(f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=0")

    assert found["headers"] == {"x-amzn-trace-id": f"Root={TRACE};Sampled=0"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_trace_there_is_no_trace_header(nothing: str | None) -> None:
    assert sent(nothing)["headers"] == {}


# Answers StartExecution instead of AWS. Prints which calls sent a trace header, and how many are in the
# trace.
STARTS = """
import json
from aws_xray_sdk.core import xray_recorder
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from jobmanager.aws import clients as aws
from jobmanager.executions import machine
from jobmanager.runtime.tracing import trace_calls

class Body:
    def stream(self):
        yield b'{"executionArn": "arn", "startDate": 1.0}'

def answer(request, **_):
    headers.append(dict(request.headers).get("X-Amzn-Trace-Id"))
    return AWSResponse("https://aws.invalid", 200, HTTPHeaders(), Body())

headers = []
trace_calls()
for client in (aws.step_functions(), aws.untraced_step_functions()):
    client.meta.events.register("before-send", answer)
names = ("service_name", "job_name", "job_guid", "execution_id", "schedule", "scheduled_time")
with xray_recorder.in_subsegment("function") as function:
    for apart in (False, True):
        machine.start_machine(dict.fromkeys(names, "x"), apart)
    print(json.dumps({"named": [bool(header) for header in headers], "calls": len(function.subsegments)}))
"""


def test_an_execution_started_apart_is_in_no_trace() -> None:
    """If a trace is not recorded, the SDK keeps each call's subsegment in memory until the function ends."""
    environment = {
        "LAMBDA_TASK_ROOT": "/var/task",
        "PYTHONPATH": str(ROOT / "functions" / "_shared"),
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:1",
        "_X_AMZN_TRACE_ID": f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=0",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:run-job",
    }
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"named": [True, False], "calls": 1}
