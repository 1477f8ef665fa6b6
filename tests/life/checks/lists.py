"""Events and the API's lists agree with the records."""

from __future__ import annotations

from collections import defaultdict

from local.api_client import path_of
from tests.life.checks.known import Faults, Known

_ENDS = {
    "execution.succeeded": "success",
    "execution.failed": "fail",
    "execution.timed_out": "timeout",
    "execution.skipped": "skipped",
    "execution.cancelled": "cancelled",
}


def events(known: Known) -> Faults:
    """The events of each execution that has ended agree with its record."""
    published: defaultdict[str, set[str]] = defaultdict(set)
    for event in known.life.events:
        if event["event"] in _ENDS:
            published[event["execution_id"]].add(_ENDS[event["event"]])
        elif event["event"] == "execution.started" and event["execution_id"] not in known.records:
            yield f"{event['execution_id']} started by its event, and has no record", event["job_name"]
    for name, record in known.records.items():
        if published[name] != {record["status"]}:
            yield f"{name} is {record['status']}, its events say {published[name]}", record["job_name"]
    for name in published.keys() - known.records.keys():
        yield f"{name} has events, but no record", None


def lists_of_the_api(known: Known) -> Faults:
    """The API's lists contain every record once, newest first, with its status."""
    life = known.life
    of_jobs = {
        path_of("services", life.service_name, "jobs", job.name, "executions"): {
            record["execution_id"] for record in known.of_job(job)
        }
        for job in life.all_jobs
    }
    of_service = path_of("services", life.service_name, "executions")
    for path, expected in {**of_jobs, of_service: set(known.records)}.items():
        listed = life.pages(path)
        names = [each["execution_id"] for each in listed]
        if len(names) != len(set(names)) or set(names) != expected:
            yield f"{path} lists these too often or not at all: {set(names) ^ expected}", None
        times = [each["scheduled_time_ms"] for each in listed]
        if times != sorted(times, reverse=True):
            yield f"{path} is not newest first", None
        for each in listed:
            record = known.records.get(each["execution_id"], {})
            if each["status"] != record.get("status"):
                yield f"{path} says {each['status']} of {each['execution_id']}", each["job_name"]
    for name, status in life.final_seen.items():
        if known.records.get(name, {}).get("status") != status:
            yield f"{name} was {status}, and is not any more", known.records[name]["job_name"]


def list_of_jobs(known: Known) -> Faults:
    """The list of the service's jobs contains those that exist."""
    listed = {
        each["job_name"] for each in known.life.pages(path_of("services", known.life.service_name, "jobs"))
    }
    for job in known.life.planned.values():
        exists = {state.definition is not None for state in job.timeline.now}
        if len(exists) == 1 and (job.name in listed) not in exists:
            yield f"the list of jobs is wrong about {job.name}", job.name
