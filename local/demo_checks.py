"""The checks of the demo. Each one that fails explains what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from local.observed_service import ObservedService
from local.sample_service import Called, Received

type Execution = dict[str, Any]


class NotAsExpected(Exception):
    """Something that the demo expects did not happen. The message explains it to the reader."""


def expect(fact: object, otherwise: str) -> None:
    """Raise NotAsExpected with the message unless the fact is true."""
    if not fact:
        raise NotAsExpected(otherwise)


def taken(service: ObservedService, job_name: str) -> list[Received]:
    """The notifications of a job that the service accepted."""
    return [event for event in service.received if event.job_name == job_name and event.outcome == "taken"]


def results(service: ObservedService, job_name: str) -> list[Called]:
    """The final callbacks of a job."""
    calls = [call for call in service.callbacks if call.job_name == job_name]
    return [call for call in calls if call.body["status"] != "processing"]


def check_history(history: Sequence[Execution], expected: Mapping[str, Sequence[str]]) -> str:
    """Each job's first executions ended with these statuses, in this order."""
    for job_name, statuses in expected.items():
        of_job = sorted(
            (e for e in history if e["job_name"] == job_name), key=lambda e: e["scheduled_time_ms"]
        )
        ended = [execution["status"] for execution in of_job]
        expect(
            ended[: len(statuses)] == list(statuses),
            f"{job_name} should have ended as {', '.join(statuses)}; its history is {', '.join(ended)}.",
        )
    skipped = sum(execution["status"] == "skipped" for execution in history)
    return f"{len(history)} executions ended as expected, {skipped} of them skipped"


def check_notified_once(history: Sequence[Execution], service: ObservedService) -> str:
    """Every execution that was not skipped reached the service, and none of the others did."""
    due = sorted(execution["execution_id"] for execution in history if execution["status"] != "skipped")
    seen = sorted(
        event.notification["execution_id"] for event in service.received if event.outcome != "tested"
    )
    expect(seen == due, f"The service was notified of {len(seen)} executions, the history has {len(due)}.")
    return f"the service was notified of each of the other {len(due)} once"


def check_error(history: Sequence[Execution], job_name: str, error: str) -> str:
    """The history has the error that the service reported."""
    errors = {json.dumps(e.get("error")) for e in history if e["job_name"] == job_name}
    expect(errors == {json.dumps(error)}, f"{job_name} has the errors {errors} in the history.")
    return f"{job_name} failed with its own error, {error!r}"


def check_state_handed_back(service: ObservedService, job_name: str) -> str:
    """The second run received the state that the first run saved."""
    saved = results(service, job_name)[0].body["state"]
    handed_back = taken(service, job_name)[1].notification["last_successful_execution"].get("state")
    expect(
        handed_back == saved, f"{job_name} saved state {saved!r}, and its next run received {handed_back!r}."
    )
    return f"{job_name} saved state {saved!r}, and its next run received it"


def check_fencing_token_rises(service: ObservedService, job_name: str) -> str:
    """Each run of an exclusive job has a higher fencing_token."""
    tokens = [event.notification["fencing_token"] for event in taken(service, job_name)]
    rises = all(before < after for before, after in pairwise(tokens))
    expect(len(tokens) > 1 and rises, f"The fencing tokens of {job_name} do not rise: {tokens}.")
    return f"the fencing_token of {job_name} rose: {', '.join(map(str, tokens))}"


def check_callbacks_taken(service: ObservedService) -> str:
    """The manager answered every callback with 200."""
    refused = [call for call in service.callbacks if not call.answer.is_taken]
    expect(not refused, f"{len(refused)} of {len(service.callbacks)} callbacks were not answered with 200.")
    return f"all {len(service.callbacks)} callbacks were answered with 200"
