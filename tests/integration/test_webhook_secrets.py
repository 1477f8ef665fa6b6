"""Webhook secrets on a stage, where each function runs with its own role."""

import base64
import json
import re

import pytest
from botocore.exceptions import ClientError
from standardwebhooks import Webhook

from jobmanager.aws.items import from_item
from local.api_client import ApiResponse, path_of
from tests.integration.scenario import Json, Scenario
from tests.integration.test_secrecy import logs_with


def secrets_path(scenario: Scenario, *more: str) -> str:
    return path_of("services", scenario.service_name, "webhook-secrets", *more)


def create(scenario: Scenario, **body: int) -> Json:
    answer = scenario.api.request("POST", secrets_path(scenario), body or None)
    assert answer.status == 201, answer
    assert answer.headers["cache-control"] == "no-store"
    created: Json = answer.body
    return created


def listed(scenario: Scenario) -> list[Json]:
    answer = scenario.api.request("GET", secrets_path(scenario))
    assert (answer.status, answer.body["paging"]) == (200, {}), answer
    results: list[Json] = answer.body["results"]
    return results


def delete(scenario: Scenario, secret_id: str) -> ApiResponse:
    return scenario.api.request("DELETE", secrets_path(scenario, secret_id))


def stored(scenario: Scenario) -> Json:
    item = scenario.aws.client("dynamodb").get_item(
        TableName=scenario.outputs["services_table_name"],
        Key={"service_name": {"S": scenario.service_name}},
        ConsistentRead=True,
    )
    return from_item(item["Item"])


def test_secrets_are_created_rotated_listed_and_deleted(scenario: Scenario) -> None:
    assert listed(scenario) == []
    first = create(scenario)
    second = create(scenario, overlap_seconds=3600)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", first["secret"])
    assert first["secret"] != second["secret"]
    assert ":user/" in first["created_by"]
    assert [other["secret_id"] for other in second["others"]] == [first["secret_id"]]
    found = listed(scenario)
    assert [(each["secret_id"], "expires_at" in each) for each in found] == [
        (second["secret_id"], False),
        (first["secret_id"], True),
    ]
    assert not [each for each in found if {"secret", "ciphertext"} & set(each)]
    assert delete(scenario, first["secret_id"]).status == 204
    assert delete(scenario, first["secret_id"]).status == 404
    assert [each["secret_id"] for each in listed(scenario)] == [second["secret_id"]]


def test_a_service_that_had_a_secret_is_not_notified_without_a_signature(scenario: Scenario) -> None:
    last = create(scenario)["secret_id"]
    refused = delete(scenario, last)
    assert (refused.status, "?force=true" in refused.body["detail"]) == (409, True)
    with scenario.service() as service:
        scenario.put("a", invocation_target=service.webhook_url("a"))
        assert scenario.api.request("DELETE", f"{secrets_path(scenario, last)}?force=true").status == 204
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "fail")
        assert execution["error"] == "Job.NotificationRejected"
        assert "no valid webhook secret" in execution["cause"]
        assert not service.received


def test_refused_requests_say_why(scenario: Scenario) -> None:
    too_long = scenario.api.request("POST", secrets_path(scenario), {"overlap_seconds": 604_801})
    assert (too_long.status, too_long.body["errors"][0]["pointer"]) == (400, "/overlap_seconds")
    for method, more in (("GET", []), ("POST", []), ("DELETE", ["1"])):
        answer = scenario.api.request(method, path_of("services", "a--b", "webhook-secrets", *more))
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (400, "/service_name")
        assert scenario.api.unsigned_request(method, secrets_path(scenario, *more)).status == 403
    for _ in range(5):
        create(scenario)
    refusal = scenario.api.request("POST", secrets_path(scenario))
    assert (refusal.status, "Delete one first" in refusal.body["detail"]) == (409, True)


def test_a_secret_is_stored_encrypted_for_its_service_and_in_no_log(scenario: Scenario) -> None:
    made = create(scenario)
    key = made["secret"].removeprefix("whsec_")
    item = stored(scenario)
    assert key not in json.dumps(item)
    kms = scenario.aws.client("kms")
    ciphertext = base64.b64decode(item["webhook_secrets"][0]["ciphertext"])
    context = {"purpose": "webhook-secret", "service_name": scenario.service_name}
    opened = kms.decrypt(CiphertextBlob=ciphertext, EncryptionContext=context)
    assert opened["Plaintext"] == base64.b64decode(key)
    with pytest.raises(ClientError, match="InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=ciphertext, EncryptionContext=context | {"service_name": "another"})
    logs = logs_with(scenario, (made["secret_id"],))
    assert key not in logs


def test_webhooks_are_signed_with_each_valid_secret_under_one_id(scenario: Scenario) -> None:
    first, second = create(scenario), create(scenario, overlap_seconds=3600)
    with scenario.service() as service:
        service.script_answers(503)
        scenario.put("a", invocation_target=service.webhook_url("a"))
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        webhooks = [received.webhook for received in service.received]
        assert len(webhooks) == 2
        for webhook in webhooks:
            assert webhook is not None
            assert webhook.headers["webhook-id"] == scenario.execution_id("a", at_ms)
            for secret in (first["secret"], second["secret"]):
                verified = Webhook(secret).verify(webhook.content.decode(), webhook.headers)
                assert verified == webhook.notification


def test_a_service_that_rejects_the_signature_is_reported_before_the_job_is_saved(
    scenario: Scenario,
) -> None:
    with scenario.service() as service:
        create(scenario)
        service.trust_only(create(scenario)["secret"])
        target = service.webhook_url("a")
        scenario.put("a", expected=(201,), invocation_target=target, test_invocation=True)
        service.trust_only("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
        refused = scenario.put("b", expected=(422,), invocation_target=target, test_invocation=True)
        assert refused.body["seen"]["http_status"] == 401
        again = scenario.api.request("POST", scenario.job_path("a", "test"))
        assert (again.status, again.body["seen"]["http_status"]) == (422, 401)
