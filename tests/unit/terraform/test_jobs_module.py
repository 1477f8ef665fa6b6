"""A service's own Terraform with the module jobs, planned without a stage, and applied to a stand-in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.terraform_provider import environment_for_terraform
from tests.service_terraform import ServiceTerraform
from tests.unit.sjm.stand_in import REGION, Reply, StandIn, stand_in

NIGHTLY = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}


class Service(ServiceTerraform):
    """The service billing, and a stand-in of the stage prod that notes what it is asked."""

    def __init__(self, folder: Path, stage: StandIn) -> None:
        self.stage = stage
        credentials = {
            "AWS_ACCESS_KEY_ID": "AKIDOFTHESERVICE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": stage.url.removesuffix("/apis/a1"),
            "AWS_REGION": REGION,
        }
        super().__init__(folder, "prod", "billing", environment_for_terraform() | credentials)

    def apply(self, *replies: Reply, succeeds: bool = True) -> str:
        """Applies while the stage gives its address, and then these answers."""
        self.stage.replies = [self.address(), *replies]
        return self.run("apply", "-auto-approve", succeeds=succeeds)

    def address(self) -> Reply:
        """The answer of SSM: where the stage is."""
        return Reply(body={"Parameter": {"Value": self.stage.url}})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with stand_in() as stage:
        service = Service(tmp_path, stage)
        service.write({})
        service.run("init")
        yield service


def test_a_plan_refuses_without_a_stage_what_the_stages_own_plan_refuses(service: Service) -> None:
    wrong: dict[str, Any] = {
        "a b": {},
        "..": {},
        "d": {"invocation_type": "mail"},
        "e": {"invocation_type": "http"},
        "f": {"ttl_seconds": 9},
        "g": {"ttl_seconds": 43201},
        "h": {"excluisve": True},
        "i": {"retry": {"max_attempts": 2, "backof_rate": 3}},
    }
    service.write({name: NIGHTLY | fields for name, fields in wrong.items()} | {"j": "nightly"})

    printed = service.run("plan", succeeds=False)

    for words in (
        "billing/a b: expected 1 to 64 characters of A-Z a-z 0-9 _ . - on either side of one slash",
        "billing/..: expected neither . nor .. alone on either side of the slash",
        'billing/d: /invocation_type: expected one of "http", "sns"',
        "billing/e: /invocation_target: this field is required if invocation_type is http",
        "billing/f: /ttl_seconds: expected at least 10",
        "billing/g: /ttl_seconds: expected at most 43200",
        "billing/h: /excluisve: unknown field: expected one of schedule, after, time_zone, start_at, ",
        "billing/i: /retry/backof_rate: unknown field: expected one of max_attempts, interval_seconds, ",
        "billing/j: expected an object",
    ):
        assert words in printed, words
    assert service.stage.received == []


def test_a_target_may_be_a_topic_that_the_same_apply_creates(service: Service) -> None:
    with_topic = json.dumps(NIGHTLY).replace("}", ', "invocation_target": terraform_data.topic.id}')
    service.write({}, jobs=f'{{ "nightly" = {with_topic.replace(":", " =")} }}')
    with (service.folder / "main.tf").open("a") as file:
        file.write('resource "terraform_data" "topic" {}\n')

    printed = service.run("plan")

    assert 'module.jobs.terraform_data.job_definition["billing/nightly"] will be created' in printed


def test_jobs_are_put_and_deleted_through_the_api_as_those_of_the_service(service: Service) -> None:
    payload = json.dumps({"text": "it's ${large} \n" * 4000})
    warnings = [{"code": "never_fires", "detail": "cron(0 0 31 2 ? *) never fires again"}]
    service.write({"nightly": NIGHTLY | {"payload": payload, "ttl_seconds": "60", "owner": None}})
    assert "billing/nightly: warning: cron(0 0 31 2 ? *) never fires again" in service.apply(
        Reply(201, {"warnings": warnings})
    )
    found, put = service.stage.received
    assert json.loads(found.content) == {"Name": "/sjm/prod/api-url"}
    assert (put.method, put.path) == ("PUT", "/apis/a1/services/billing/jobs/nightly")
    assert put.query == [("managed_by", "Terraform")]
    assert put.body == NIGHTLY | {"payload": payload, "ttl_seconds": 60}
    assert "Credential=AKIDOFTHESERVICE/" in put.headers["authorization"]
    assert f"/{REGION}/execute-api/" in put.headers["authorization"]

    assert "No changes" in service.run("plan")
    service.write({})
    service.apply(Reply(204))
    assert [(each.method, each.query) for each in service.stage.received[2:]] == [
        ("POST", []),
        ("DELETE", [("managed_by", "Terraform")]),
    ]


def test_a_changed_job_is_put_again_and_not_deleted_and_another_stage_is(service: Service) -> None:
    service.write({"nightly": NIGHTLY}, managed_in='"git.example/billing"')
    service.apply(Reply(201, {}))
    service.write({"nightly": NIGHTLY | {"payload": "new"}}, managed_in='"here"', region=f'"{REGION}"')
    service.apply(Reply(200, {}))
    methods = [each.method for each in service.stage.received if "/services/" in each.path]
    assert methods == ["PUT", "PUT"]
    assert service.stage.received[-1].query == [("managed_by", "here")]

    service.write({"nightly": NIGHTLY}, managed_in='"here"', stage='"qa"')
    service.apply(Reply(204), service.address(), Reply(201, {}))
    asked = [json.loads(each.content)["Name"] for each in service.stage.received[4:] if each.method == "POST"]
    assert asked == ["/sjm/prod/api-url", "/sjm/qa/api-url"]
    assert [each.method for each in service.stage.received[-3:]] == ["DELETE", "POST", "PUT"]


def test_a_refusal_fails_the_apply_in_the_apis_words_and_the_next_one_puts_the_job(service: Service) -> None:
    service.write({"nightly": NIGHTLY})
    detail = "billing/nightly is managed by terraform/environments/prod/jobs.tf: change it there."
    problem = {"type": "/problems/managed-elsewhere", "title": "t", "detail": detail}
    assert f"billing/nightly: 409 {detail}" in service.apply(Reply(409, problem), succeeds=False)

    service.apply(Reply(201, {}))
    assert "No changes" in service.run("plan")
