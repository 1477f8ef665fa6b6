"""Updates a stage on which executions of every kind run, and reports whatever does not end as it should.

make upgrade

The version before is applied to an emulator, gets jobs, and starts executions. Then this version is applied
to the same state while they run. Jobs then use what this version brings, and some of their executions wait
for those of the version before. Afterwards the services call back.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Iterable

from botocore.credentials import Credentials
from localstack_client.session import Session

from local import stage
from local.emulated_account import ACCESS_KEY, REGION, SECRET_KEY
from local.observed_service import ObservedService
from local.sample_service import QueueListener
from local.terraform_provider import TerraformError
from tests.integration.contract import CheckedApi, Contract
from tests.integration.invariants import broken_invariants
from tests.integration.polling import poll
from tests.integration.scenario import FINAL, Json, Scenario, own_schedule
from tests.integration.stage_view import Stage
from tests.upgrade import waiting
from tests.upgrade.versions import (
    BEFORE,
    FORGOTTEN_BY_THE_EMULATOR,
    CannotUpgrade,
    apply_before,
    lost_by,
    planned_changes,
)
from tests.upgrade.waiting import LIMIT, OVERTAKEN, QUEUED
from tests.upgrade.work import BUSY_SECONDS, BusyService, Work
from tools.package import PackageError

# The status with which the execution of each job ends that is started before the update.
EXPECTED = {
    "sns": "success",
    "webhook": "success",
    "sync": "success",
    QUEUED: "success",
    OVERTAKEN: "cancelled",
    "heartbeats": "success",
    "busy": "success",
    "retried": "success",
    "failed": "fail",
    "silent": "timeout",
    "cancelled": "cancelled",
    "paused": "skipped",
    "by-hand": "success",
}
SILENT_SECONDS = 150
SYNC_SECONDS = 40
MINUTE = 60


def scenario_of(outputs: Json, service_name: str, schedule: str) -> Scenario:
    """A view of the stage with the contract that it serves now."""
    session = Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION)
    contract = Contract.of_the_stage(outputs["api_url"])
    api = CheckedApi(outputs["api_url"], Credentials(ACCESS_KEY, SECRET_KEY), REGION, contract)
    return Scenario(session, outputs, api, service_name, schedule)


def put_jobs(before: Scenario, service: ObservedService, busy: BusyService) -> None:
    """PUTs a job of every kind, and one with a rule that fires each minute."""
    secret = before.api.request("POST", f"/services/{before.service_name}/webhook-secrets", {})
    assert secret.status == 201, secret
    service.trust_only(secret.body["secret"])
    hook = service.webhook_url
    wait: Json = {"ttl_seconds": 900}
    before.put("sns", **wait)
    before.put("webhook", invocation_target=hook("webhook"), **wait)
    sync: Json = {"async": False, "payload": json.dumps({"seconds": SYNC_SECONDS, "state": "synced"})}
    before.put("sync", invocation_target=hook("sync"), ttl_seconds=SYNC_SECONDS + 20, **sync)
    before.put(QUEUED, exclusive=True, **wait)
    before.put(OVERTAKEN, exclusive=True, **wait)
    before.put("heartbeats", ttl_seconds=900, heartbeat_interval_seconds=60)
    before.put("busy", invocation_target=busy.url, **wait)
    before.put("retried", retry={"max_attempts": 2, "interval_seconds": BUSY_SECONDS}, **wait)
    before.put("failed", **wait)
    before.put("silent", ttl_seconds=SILENT_SECONDS)
    before.put("cancelled", **wait)
    before.put("paused", **wait)
    before.put("by-hand", **wait)
    before.put("each-minute", schedule="rate(1 minute)", **wait)
    path = before.job_path("paused", "pause")
    assert (
        before.api.request("POST", path, {"reason": "to be skipped", "until": "2150-01-01T00:00:00Z"}).status
        == 200
    )


def start_executions(before: Scenario) -> dict[str, list[str]]:
    """Starts executions of all jobs, and waits for the intended state of each. Returns their ids by job."""
    at_ms = before.tick()
    by_hand = before.api.request("POST", before.job_path("by-hand", "executions"), {})
    assert by_hand.status == 201, by_hand
    before.wait_until("paused", at_ms, "skipped")
    before.wait_until("failed", at_ms, "fail")
    for name in EXPECTED.keys() - {"paused", "failed"}:
        before.wait_until(name, at_ms, "running", "success")
    poll(lambda: before.history("each-minute"), 3 * MINUTE, "execution of the job of each minute")
    # Of this tick, the update finds executions that have just begun, and sync jobs at work.
    at_ms = before.tick()
    before.wait_until(QUEUED, at_ms, "skipped")
    before.wait_until(OVERTAKEN, at_ms, "skipped")
    for name in EXPECTED:
        before.wait_until(name, at_ms, "running", *FINAL)
    return {
        name: [each["execution_id"] for each in before.history(name)] for name in [*EXPECTED, "each-minute"]
    }


def finish(after: Scenario, work: Work, known: dict[str, list[str]], begun: waiting.Begun) -> list[str]:
    """Lets everything end, and ticks once more. Returns a sentence for each thing that is wrong."""
    for each in known["cancelled"]:
        path = after.job_path("cancelled", "executions", each, "cancel")
        assert after.api.request("POST", path, {}).status == 200
    work.release()
    failed = known["failed"][-1]
    rerun = after.api.request("POST", after.job_path("failed", "executions", failed, "rerun"), {})
    assert rerun.status == 201, rerun
    fired = len(after.history("each-minute"))
    wrong = []
    for name, ids in known.items():
        for execution_id in ids:
            may_be_skipped = name in (QUEUED, OVERTAKEN)
            wrong += _ends(after, name, execution_id, EXPECTED.get(name, "success"), may_be_skipped)
    wrong += waiting.not_as_promised(after, known, begun)
    assert after.api.request("POST", after.job_path("paused", "resume"), {}).status == 200
    at_ms = after.tick(after.tick_time() + 1000)
    for name in EXPECTED:
        found = after.wait_until(name, at_ms, *FINAL, seconds=2 * MINUTE)
        if found["status"] != "success":
            wrong.append(f"after the update, {name} ended as {found['status']}: {found}")
    poll(lambda: len(after.history("each-minute")) > fired, 3 * MINUTE, "further execution of each minute")
    for name, ids in known.items():
        listed = {each["execution_id"] for each in after.history(name)}
        wrong += [f"the history of {name} lacks {each}" for each in ids if each not in listed]
    return wrong


def _ends(after: Scenario, name: str, execution_id: str, expected: str, may_be_skipped: bool) -> list[str]:
    """Waits for the end of an execution, and returns what is wrong with it."""

    def ended() -> Json | None:
        found = after.api.request("GET", after.job_path(name, "executions", execution_id))
        assert found.status == 200, found
        return found.body if found.body["status"] in FINAL else None

    try:
        found = poll(ended, SILENT_SECONDS + 3 * MINUTE, f"end of {name}")
    except AssertionError as error:
        return [str(error)]
    if found["status"] == expected or (may_be_skipped and found["status"] == "skipped"):
        return []
    return [f"{name} ended as {found['status']}, expected {expected}: {found}"]


def missing_events(events: Iterable[Json], known: dict[str, list[str]]) -> list[str]:
    """The executions whose end was not published."""
    published = {each.get("execution_id") for each in events if each["event"] != "execution.started"}
    return [
        f"the end of {each} of {name} was not published"
        for name, ids in known.items()
        for each in ids
        if each not in published
    ]


def broken_at_rest(after: Scenario, service: ObservedService) -> list[str]:
    """What does not hold of the stage once everything has ended."""
    acknowledged = [
        (each.notification["execution_id"], each.notification.get("attempt", 1), each.body["status"])
        for each in service.callbacks
        if each.answer.is_taken and each.body["status"] in ("success", "fail")
    ]
    received = [each.notification for each in service.received if each.outcome == "taken"]
    names, view, deadline = [after.service_name], Stage(after.aws, after.outputs), time.monotonic() + MINUTE
    while True:
        broken = broken_invariants(view, names, received=received, acknowledged=acknowledged)
        limit = after.limit(LIMIT)
        if limit["held"] or limit["waiting"]:
            broken.append(f"the limit is still held, or waited for: {limit}")
        if not broken or time.monotonic() > deadline:
            return broken
        time.sleep(1)


def update(endpoint: str) -> list[str]:
    """Applies this version. Returns what a further apply would change.

    Raises CannotUpgrade if it would lose something.
    """
    with stage.step("packages of this version"):
        stage.build_packages()
    root = stage.prepare_terraform(endpoint)
    with stage.step("terraform plan, this version"):
        changes = planned_changes(endpoint, root)
    if lost := lost_by(changes):
        raise CannotUpgrade("\n".join(lost))
    with stage.step(f"terraform apply, this version: {len(changes)} changes"):
        stage.apply_terraform(endpoint, root)
    with stage.step("terraform plan, which must be empty"):
        again = planned_changes(endpoint, root)
    return [
        f"{each['address']} would change again"
        for each in again
        if each["type"] not in FORGOTTEN_BY_THE_EMULATOR
    ]


def upgrade(endpoint: str) -> list[str]:
    """Applies both versions, and returns a sentence for each thing that is wrong."""
    with stage.step(f"terraform apply, version before ({BEFORE[:12]})"):
        outputs = apply_before(endpoint)
    service_name, schedule = f"upgraded-{secrets.token_hex(4)}", own_schedule()
    before, work, events = scenario_of(outputs, service_name, schedule), Work(), list[Json]()
    service = ObservedService(service_name, outputs["notifications_topic_arn"], work=work)
    listener = QueueListener(
        outputs["events_topic_arn"],
        {"service_name": [service_name]},
        lambda event, _: events.append(event),
        queue_name="events",
    )
    listener.start()
    try:
        with service, BusyService(service, work) as busy:
            with stage.step("jobs, and executions of every kind"):
                put_jobs(before, service, busy)
                known = start_executions(before)
            wrong = update(endpoint)
            after = scenario_of(json.loads(stage.OUTPUTS_FILE.read_text()), service_name, schedule)
            with stage.step("jobs of this version, which wait for executions of the version before"):
                begun = waiting.begin(after, known)
            with stage.step("results, and further executions"):
                wrong += finish(after, work, known, begun)
            known = {
                name: [*known.get(name, ()), *begun.by_job.get(name, ())] for name in known | begun.by_job
            }
            after.delete("each-minute")
            wrong += broken_at_rest(after, service)
            wrong += [f"a heartbeat was answered {status}" for status in work.heartbeats if status != 200]
            print(f"{len(work.heartbeats)} heartbeats were answered meanwhile")
            return wrong + missing_events(events, known)
    finally:
        listener.stop()


def main() -> int:
    """The command line. Returns 1 if something was wrong, or if it cannot be tried."""
    stage.interrupt_on_signals()
    endpoint = stage.DEFAULT_ENDPOINT
    try:
        with stage.lock_stage():
            if stage.known_emulator():
                raise CannotUpgrade("the local stage is up; first stop it with: make down")
            stage.forget_state(endpoint)
            stage.start_emulator(endpoint)
            try:
                os.environ.update(stage.environment_for_command(endpoint))
                wrong = upgrade(endpoint)
            finally:
                stage.take_down()
    except (CannotUpgrade, stage.StageError, TerraformError, PackageError) as error:
        print(error, file=sys.stderr)
        return 1
    except stage.Interrupted as interruption:
        return interruption.exit_code
    print(*wrong or ["everything ended as it should"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
