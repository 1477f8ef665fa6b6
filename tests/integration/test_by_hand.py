"""Run now, pause, resume, cancel and rerun, on a real stage."""

from tests.integration.polling import poll
from tests.integration.scenario import Scenario


def test_a_paused_job_can_run_now_with_another_payload_and_be_rerun(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("a", payload='{"do": "fail"}')
        scenario.post(scenario.job_path("a", "pause"), 200, {"reason": "migration"})
        assert scenario.rules() == []
        path, body = scenario.job_path("a", "executions"), {"payload": '{"do": "succeed", "state": "s-1"}'}
        first = scenario.post(path, body=body, key="once")
        assert first["paused"]["reason"] == "migration"
        assert scenario.post(path, body=body, key="once")["execution_id"] == first["execution_id"]
        done = scenario.wait_for("a", first["execution_id"], "success")
        assert (done["state"], ":user/" in done["started_by"]) == ("s-1", True)
        again = scenario.post(f"{path}/{first['execution_id']}/rerun")
        assert scenario.wait_for("a", again["execution_id"], "success")["rerun_of"] == first["execution_id"]
        assert scenario.wait_for("a", first["execution_id"], "success")["reruns"] == [again["execution_id"]]
        payloads = [received.notification["payload"] for received in service.received]
        assert payloads == [body["payload"], body["payload"]]
        scenario.post(scenario.job_path("a", "resume"), 200)
        assert len(scenario.rules()) == 1
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "fail")


def test_a_running_exclusive_job_refuses_another_run_until_it_is_cancelled(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", exclusive=True, ttl_seconds=120)
        path = scenario.job_path("a", "executions")
        first = scenario.post(path)
        service.wait_for(lambda s: len(s.received) == 1, 30, "the first notification")
        refusal = scenario.post(path, 409)
        assert refusal["lock_execution"] == first["execution_id"]
        cancelled = scenario.post(f"{path}/{first['execution_id']}/cancel", 200, {"reason": "wrong ledger"})
        assert cancelled["status"] == "cancelled"
        gone = scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        assert (gone.status, gone.body["execution_status"]) == (410, "cancelled")
        poll(lambda: "lock_execution" not in scenario.job("a"), 30, "free lock")
        machines = scenario.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
        arn = f"{machines}:{first['execution_id']}"
        machine = scenario.aws.client("stepfunctions").describe_execution(executionArn=arn)
        assert (machine["status"], machine["error"]) == ("FAILED", "Job.Cancelled")
        assert "wrong ledger" in machine["cause"]
        second = scenario.post(path)
        assert second["fencing_token"] == 2
        scenario.post(f"{path}/{second['execution_id']}/cancel", 200)
        assert scenario.post(f"{path}/{first['execution_id']}/cancel", 200)["status"] == "cancelled"


def test_a_rerun_of_an_exclusive_job_takes_a_new_lock(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a", exclusive=True)
        path = scenario.job_path("a", "executions")
        first = scenario.post(path)
        scenario.wait_for("a", first["execution_id"], "success")
        poll(lambda: "lock_execution" not in scenario.job("a"), 30, "free lock")
        again = scenario.post(f"{path}/{first['execution_id']}/rerun")
        assert (first["fencing_token"], again["fencing_token"]) == (1, 2)
        scenario.wait_for("a", again["execution_id"], "success")


def test_a_job_that_became_exclusive_refuses_run_and_rerun_until_its_earlier_execution_has_ended(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", ttl_seconds=600)
        path = scenario.job_path("a", "executions")
        first = scenario.post(path)
        service.wait_for(lambda s: len(s.received) == 1, 60, "the first notification")
        scenario.put("a", ttl_seconds=600, exclusive=True)
        for act in (path, f"{path}/{first['execution_id']}/rerun"):
            assert scenario.post(act, 409)["lock_execution"] == first["execution_id"]
        url = service.received[0].notification["callback_url"]
        assert scenario.callback(url, {"status": "success"}).status == 200
        scenario.wait_for("a", first["execution_id"], "success")
        assert scenario.post(f"{path}/{first['execution_id']}/rerun")["fencing_token"] == 1
