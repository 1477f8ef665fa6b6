"""The demo: jobs are registered, their rule fires, a sample service is notified and calls back.

    python -m local.stage run -- python -m local.demo [--console]

It uses the stage as any service does, over its HTTP API, SNS and webhooks, and prints only what really
happened. If something expected did not happen, it prints what and ends with exit code 1. With --console, the
jobs go on running, and the console shows them in your browser until you press Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from local import demo_checks
from local.api_client import ApiResponse, ManagerApi, path_of
from local.demo_by_hand import ByHand
from local.demo_checks import NotAsExpected, expect, results, taken
from local.demo_wording import (
    HISTORY_HEADER,
    callback_line,
    history_row,
    job_line,
    latency_lines,
    notification_line,
    shortened,
)
from local.observed_service import ObservedService
from local.sample_service import Called, QueueListener, Received
from local.stage import STAGE
from local.terraform_provider import PROJECT
from local.timeline import Timeline

SERVICE = "billing"
SCHEDULE = "rate(1 minute)"
WEBHOOK_SECRETS = path_of("services", SERVICE, "webhook-secrets")
TICK_DEADLINE_SECONDS = 150
LONG_JOB = "rebuild-index"
ERROR = "ledger 7 does not balance"
JOBS: dict[str, dict[str, Any]] = {
    "nightly-invoices": {
        "schedule": SCHEDULE,
        "invocation_type": "sns",
        "payload": {"do": "succeed", "seconds": 4, "heartbeats": 2, "advance": 40, "summary": "invoices"},
    },
    "refresh-rates": {
        "schedule": "rate( 1  minute )",
        "invocation_type": "http",
        "exclusive": True,
        "payload": {"do": "succeed", "seconds": 2, "heartbeats": 1, "summary": "31 rates"},
    },
    "close-books": {
        "schedule": SCHEDULE,
        "invocation_type": "http",
        "payload": {"do": "fail", "seconds": 1, "error": ERROR},
    },
    LONG_JOB: {
        "schedule": SCHEDULE,
        "invocation_type": "sns",
        "exclusive": True,
        "ttl_seconds": 45,
        "payload": {"do": "succeed", "seconds": 64, "heartbeats": 5, "summary": "index rebuilt"},
    },
}
NEXT = "Next: docs/integrate.md shows how a service of yours takes jobs. `make up` leaves this stage running."
SHORT_JOBS = [job_name for job_name in JOBS if job_name != LONG_JOB]
EXPECTED_HISTORY = {
    "nightly-invoices": ("success", "success"),
    "refresh-rates": ("success", "success"),
    "close-books": ("fail", "fail"),
    LONG_JOB: ("success", "skipped"),
}


class Demo:
    """One run of the demo against one stage."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._say = Timeline()
        self._prefix = outputs["prefix"]
        self._api = ManagerApi.from_environment(outputs["api_url"])
        self._started_at = datetime.now(UTC)
        self._printing = threading.Lock()
        self._registered: list[str] = []
        self._ticks: set[str] = set()
        self._is_by_hand = False
        self._skipped: list[dict[str, Any]] = []
        self._service = ObservedService(
            SERVICE, outputs["notifications_topic_arn"], on_event=self._on_service_event
        )
        self._skips = QueueListener(
            outputs["events_topic_arn"],
            {"service_name": [SERVICE], "event": ["execution.skipped"]},
            self._on_skipped,
            queue_name="demo-events",
        )

    def run(self, with_console: bool = False) -> None:
        """Run all scenes. Raises NotAsExpected. ``with_console`` shows the console until you stop it."""
        self._remove_leftovers()
        try:
            with self._service, self._skips:
                self._say.heading(f"Register jobs on stage {self._prefix}")
                self._show_what_is_refused()
                self._make_webhook_secret()
                self._register_jobs()
                self._show_shared_rule()
                self._say.heading("The rule fires, the service works")
                self._await_two_ticks()
                history = self._await_end_of_executions()
                self._say.heading(f"History, from GET /services/{SERVICE}/executions")
                self._say.table(HISTORY_HEADER, [history_row(execution) for execution in history])
                self._say.heading("Checks")
                self._check(history)
                self._say.heading("By hand: pause, run now, cancel")
                self._show_by_hand()
                if with_console:
                    self._say.heading("The console shows all this. Press Ctrl-C to stop")
                    show_console()
        finally:
            self._delete_jobs()
        self._check_rule_is_gone()
        self._say.heading(NEXT)

    def _remove_leftovers(self) -> None:
        # On a stage that stays up (make up), an earlier demo may have been killed.
        for job_name in JOBS:
            answer = self._delete(job_name)
            expect(answer.status in (200, 204, 404), f"DELETE {job_name} was answered {shortened(answer)}.")
        for secret in self._api.request("GET", WEBHOOK_SECRETS).body["results"]:
            self._api.request("DELETE", f"{WEBHOOK_SECRETS}/{secret['secret_id']}")
        rules = self._rules()
        expect(
            not rules,
            f"Other jobs use {SCHEDULE}, so the demo cannot show how a rule is created and deleted.",
        )

    def _show_what_is_refused(self) -> None:
        path = path_of("services", SERVICE, "jobs", "nightly-invoices")
        answer = self._api.unsigned_request("PUT", path, JOBS["nightly-invoices"])
        expect(answer.status in (401, 403), f"An unsigned PUT was answered {shortened(answer)}.")
        self._say("refused", f"an unsigned PUT: {answer.status}")
        wrong_job = {"schedule": "every night", "invocation_type": "sns", "ttl_seconds": 5}
        answer = self._api.request("PUT", path, wrong_job)
        expect(answer.status == 400, f"A wrong job was answered {shortened(answer)}.")
        for error in answer.body["errors"]:
            self._say("refused", f"{error['pointer']}: {error['detail']}")

    def _make_webhook_secret(self) -> None:
        answer = self._api.request("POST", WEBHOOK_SECRETS)
        expect(answer.status == 201, f"POST {WEBHOOK_SECRETS} was answered {shortened(answer)}.")
        self._service.trust_only(answer.body["secret"])
        self._say("POST", f"201  a secret to sign webhooks with, shown once: {answer.body['secret'][:9]}…")

    def _register_jobs(self) -> None:
        for job_name, definition in JOBS.items():
            body = {**definition, "payload": json.dumps(definition["payload"])}
            if body["invocation_type"] == "http":
                body["invocation_target"] = self._service.webhook_url(job_name)
            answer = self._api.request("PUT", path_of("services", SERVICE, "jobs", job_name), body)
            self._registered.append(job_name)
            expect(answer.status in (200, 201), f"PUT {job_name} was answered {shortened(answer)}.")
            job = answer.body
            expect(job["schedule"] == SCHEDULE, f"{job_name} was put on the schedule {job['schedule']!r}.")
            exclusive = ", exclusive" if job["exclusive"] else ""
            result = f"{answer.status}  {body['schedule']}, by {job['invocation_type']}{exclusive}"
            self._say("PUT", job_line(job_name, result))

    def _show_shared_rule(self) -> None:
        rules = self._rules()
        expect(len(rules) == 1, f"Expected one rule for {SCHEDULE}, found {len(rules)}.")
        self._say("checked", f"{len(JOBS)} jobs share one rule, {rules[0]}")

    def _await_two_ticks(self) -> None:
        self._wait(
            lambda: self._has_reached(JOBS, 1),
            TICK_DEADLINE_SECONDS,
            "the first tick: a rate counts from the creation of its rule",
        )
        self._wait(lambda: self._has_reached(SHORT_JOBS, 2), TICK_DEADLINE_SECONDS, "the second tick")
        self._wait(lambda: self._skipped, 30, f"the second tick of {LONG_JOB} to be skipped")
        self._wait(lambda: results(self._service, LONG_JOB), 90, f"{LONG_JOB} to finish")

    def _await_end_of_executions(self) -> list[dict[str, Any]]:
        self._wait(
            lambda: all(e["status"] != "running" for e in self._history()), 30, "all executions to end"
        )
        return self._history()

    def _check(self, history: list[dict[str, Any]]) -> None:
        for fact in (
            demo_checks.check_history(history, EXPECTED_HISTORY),
            demo_checks.check_notified_once(history, self._service),
            demo_checks.check_error(history, "close-books", ERROR),
            demo_checks.check_state_handed_back(self._service, "nightly-invoices"),
            demo_checks.check_fencing_token_rises(self._service, "refresh-rates"),
            demo_checks.check_callbacks_taken(self._service),
        ):
            self._say("checked", fact)
        for line in latency_lines([event for event in self._service.received if event.outcome == "taken"]):
            self._say("measured", line)

    def _show_by_hand(self) -> None:
        self._is_by_hand = True
        by_hand = ByHand(self._api, self._service, self._say)
        by_hand.show_pause_and_run_now("refresh-rates")
        by_hand.show_cancel(LONG_JOB)

    def _delete_jobs(self) -> None:
        if self._registered:
            self._say.heading("Delete the jobs")
        for job_name in self._registered:
            self._say("DELETE", job_line(job_name, str(self._delete(job_name).status)))

    def _check_rule_is_gone(self) -> None:
        rules = self._rules()
        expect(not rules, f"The jobs are deleted, but their rule is still there: {', '.join(rules)}.")
        self._say("checked", f"no job is left on {SCHEDULE}, and its rule is gone")

    def _delete(self, job_name: str) -> ApiResponse:
        return self._api.request("DELETE", path_of("services", SERVICE, "jobs", job_name))

    def _rules(self) -> list[str]:
        pages = boto3.client("events").get_paginator("list_rules")
        prefix = f"{self._prefix}-schedule-"
        rules = [rule for page in pages.paginate(NamePrefix=prefix) for rule in page["Rules"]]
        return [rule["Name"] for rule in rules if rule.get("ScheduleExpression") == SCHEDULE]

    def _history(self) -> list[dict[str, Any]]:
        query: dict[str, str | int] = {"since": self._started_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        executions: list[dict[str, Any]] = []
        while True:
            answer = self._api.request("GET", path_of("services", SERVICE, "executions"), query=query)
            expect(answer.status == 200, f"GET executions was answered {shortened(answer)}.")
            executions += answer.body["results"]
            if "more" not in answer.body["paging"]:
                return executions
            query["more"] = answer.body["paging"]["more"]

    def _has_reached(self, job_names: Iterable[str], times: int) -> bool:
        return all(len(taken(self._service, job_name)) >= times for job_name in job_names)

    def _wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            expect(time.monotonic() < deadline, f"Waited {seconds:g} s for {what}, which did not happen.")
            if self._say.quiet_seconds > 20:
                self._say("waiting", f"for {what}")
            time.sleep(0.5)

    def _on_service_event(self, event: Received | Called) -> None:
        with self._printing:
            if isinstance(event, Received) and event.outcome == "tested":
                self._say("tested", job_line(event.job_name, "test notification, signature checked"))
                return
            if isinstance(event, Called):
                self._say(event.body["status"].replace("processing", "heartbeat"), callback_line(event))
                return
            scheduled_time = event.notification["scheduled_time"]
            if scheduled_time not in self._ticks and not self._is_by_hand:
                self._ticks.add(scheduled_time)
                self._say("tick", f"{SCHEDULE} fired, scheduled_time {scheduled_time}")
            self._say("notified" if event.outcome == "taken" else event.outcome, notification_line(event))

    def _on_skipped(self, event: dict[str, Any], _trace_header: str | None) -> None:
        self._skipped.append(event)
        self._say("skipped", job_line(event["job_name"], f"{event['scheduled_time']}, {event['reason']}"))


def show_console() -> None:
    """Opens the console of this stage in the browser, and serves it until it is interrupted."""
    command = [sys.executable, "-m", "sjm.cli", "--stage", STAGE, "console"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "sjm" / "src")}
    with subprocess.Popen(command, env=environment) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.terminate()  # no Ctrl-C has reached it if only the demo was told to stop


def interrupt_once(_number: int, _frame: object) -> None:
    """End the demo at the first signal, and ignore further ones during the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0 if everything happened as expected."""
    parser = argparse.ArgumentParser("python -m local.demo", description="Run real jobs on the local stage.")
    parser.add_argument("--console", action="store_true", help="show them in the browser until Ctrl-C")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt_once)
    if "STAGE_OUTPUTS" not in os.environ:
        print("STAGE_OUTPUTS is not set. Start the demo with: make demo", file=sys.stderr)
        return 2
    try:
        Demo(json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())).run(options.console)
    except NotAsExpected as problem:
        print(f"\nThe demo failed. {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"\nThe demo failed. The stage cannot be reached: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
