import json
import subprocess
import sys

import pytest

from tests.unit.terraform.blocks import ROOT

TRACE = "1-5759e988-bd862e3fe1be46a994272793"

# In a process of its own: the tests' has tracing off, and is not in Lambda.
SENDS = """
import json, sys
from aws_xray_sdk.core import xray_recorder
from jobmanager.tracing import web_request

with xray_recorder.in_subsegment("function"):
    with web_request("POST", "https://billing.example:8443/jobs/nightly?key=secret") as request:
        request.answered(202)
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


def test_a_service_hears_that_a_trace_is_not_recorded() -> None:
    found = sent(f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=0")

    assert found["headers"] == {"x-amzn-trace-id": f"Root={TRACE};Sampled=0"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_trace_there_is_no_header(nothing: str | None) -> None:
    assert sent(nothing)["headers"] == {}
