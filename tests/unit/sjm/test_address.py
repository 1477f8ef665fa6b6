"""Where the client finds the API, its region and the caller."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials
from moto import mock_aws

from sjm.client import Manager, NotConfigured, Retries
from tests.unit.sjm.stand_in import CREDENTIALS, REGION, StandIn

SOURCE = Path(__file__).resolve().parents[3] / "sjm" / "src"
AWS_URL = "https://a1b2c3.execute-api.eu-west-1.amazonaws.com"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def publish(parameter: str, value: str, region: str = REGION) -> None:
    boto3.client("ssm", region_name=region).put_parameter(Name=parameter, Value=value, Type="String")


@mock_aws
def test_the_url_is_the_argument_else_what_terraform_published_for_the_stage_else_the_environments(
    monkeypatch: pytest.MonkeyPatch, keys: None
) -> None:
    publish("/sjm/prod/api-url", "https://published.example")
    publish("/jobs/prod/api-url", "https://jobs.example")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)

    assert Manager("prod").url == "https://published.example"
    assert Manager("prod", name="jobs").url == "https://jobs.example"
    monkeypatch.setenv("SJM_URL", "https://environment.example/")
    assert Manager("prod").url == "https://published.example"
    assert Manager().url == "https://environment.example"
    assert Manager("prod", url="https://argument.example/x/").url == "https://argument.example/x"


@mock_aws
def test_the_parameter_is_read_once_with_the_given_credentials_and_region() -> None:
    publish("/sjm/prod/api-url", "https://published.example", "ap-south-1")
    manager = Manager("prod", region="ap-south-1", credentials=CREDENTIALS)

    assert manager.url == "https://published.example"
    boto3.client("ssm", region_name="ap-south-1").delete_parameter(Name="/sjm/prod/api-url")
    assert manager.url == "https://published.example"


@mock_aws
def test_a_stage_that_is_not_published_says_what_to_check() -> None:
    with pytest.raises(NotConfigured, match=r"/sjm/porod/api-url in eu-central-1.*does not exist.*pass url"):
        Manager("porod", region=REGION, credentials=CREDENTIALS).list_jobs().__iter__().__next__()


def test_a_caller_who_may_not_read_the_parameter_is_told_the_permission(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.sjm.stand_in import Reply

    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.removesuffix("/apis/a1"))
    refused = {"__type": "AccessDeniedException", "message": "no"}
    server.replies = [Reply(400, refused, content_type="application/x-amz-json-1.1")]
    with pytest.raises(NotConfigured, match="ssm:GetParameter"):
        _ = Manager("prod", region=REGION, credentials=CREDENTIALS).url
    assert server.received[0].headers["x-amz-target"] == "AmazonSSM.GetParameter"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "manager.example",
        "ftp://manager.example",
        "https://",
        "https://a:b@c",
        "https://a/?b=c",
        "https://a/#b",
    ],
)
def test_what_is_no_address_is_refused_and_its_source_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SJM_URL", url)
    with pytest.raises(NotConfigured, match=r"SJM_URL") as raised:
        _ = Manager().url
    assert "a:b" not in str(raised.value)


def test_requests_are_signed_for_the_region_of_the_argument_else_of_the_url_else_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def region(url: str, **settings: Any) -> str:
        return Manager(url=url, **settings)._connection.region

    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert region("https://manager.example") == "us-east-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert region("https://manager.example") == "us-west-2"
    assert region(AWS_URL) == "eu-west-1"
    assert region("https://a1.execute-api.cn-north-1.amazonaws.com.cn") == "cn-north-1"
    assert region("https://execute-api.eu-west-1.amazonaws.com.example") == "us-west-2"
    assert region(AWS_URL, region="ap-south-1") == "ap-south-1"


def test_the_region_may_come_from_a_profile(tmp_path: Path, server: StandIn) -> None:
    (tmp_path / "config").write_text(
        "[profile ops]\nregion = eu-central-1\naws_access_key_id = AKIDOFPROFILE\naws_secret_access_key = s\n"
    )
    with Manager(url=server.url, profile="ops") as manager:
        manager.get_job("a", "b")
    assert "Credential=AKIDOFPROFILE/" in server.received[0].headers["authorization"]
    assert "/eu-central-1/execute-api/" in server.received[0].headers["authorization"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Pass stage or url"),
        ({"stage": "prod"}, "no AWS region"),
        ({"stage": "prod", "region": REGION}, "no AWS credentials"),
        ({"url": "https://manager.example"}, "no AWS region"),
        ({"url": AWS_URL}, "no AWS credentials"),
        ({"url": AWS_URL, "profile": "nobody"}, "nobody"),
    ],
)
def test_what_is_not_configured_is_named(settings: dict[str, Any], message: str) -> None:
    with Manager(**settings) as manager, pytest.raises(NotConfigured, match=message):
        manager.get_job("a", "b")


def test_credentials_that_expire_are_renewed_for_the_next_request(server: StandIn) -> None:
    class Renewed(Credentials):
        count = 0

        def get_frozen_credentials(self) -> Any:
            self.count += 1
            return Credentials(f"AKID{self.count}", "secret").get_frozen_credentials()

    with server.manager(credentials=Renewed("AKID0", "secret")) as manager:
        manager.get_job("a", "b")
        manager.get_job("a", "b")
    assert ["Credential=AKID1/" in r.headers["authorization"] for r in server.received] == [True, False]


def test_what_needs_no_signature_needs_no_credentials(server: StandIn) -> None:
    with Manager(url=server.url) as manager:
        assert manager.get_openapi()["openapi"] == "3.1.0"


def test_an_unknown_certificate_is_not_repeated_and_said_in_words(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server speaks no TLS, which fails as early as a certificate that is not trusted."""
    slept: list[float] = []
    with (
        server.manager(
            url=server.url.replace("http:", "https:"), retries=Retries(sleep=slept.append)
        ) as manager,
        pytest.raises(NotConfigured, match="the connection is not safe"),
    ):
        manager.create_webhook_secret("a")
    assert slept == []


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_import_loads_neither_botocore_nor_more_than_it_needs() -> None:
    """-S keeps site-packages out, so this also shows that the import needs none of them."""
    done = run_python(
        "import json, sjm; a = set(sys.modules); import sjm.client; print(json.dumps([*a, 0, *sys.modules]))"
    )

    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    core, whole = set(loaded[: loaded.index(0)]), set(loaded[loaded.index(0) + 1 :])
    assert "importlib.metadata" not in core
    assert not {name for name in whole if name.split(".")[0] in {"botocore", "urllib3", "http.client", "ssl"}}


def test_without_botocore_the_first_request_says_what_to_install() -> None:
    done = run_python(
        "from sjm.client import Manager, NotConfigured\n"
        "try: Manager(url='https://manager.example').get_openapi()\n"
        "except NotConfigured as error: print(error)"
    )

    assert "pip install 'serverless-job-manager[client]'" in done.stdout, done.stderr
