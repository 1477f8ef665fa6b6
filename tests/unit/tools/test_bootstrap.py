"""make bootstrap: its arguments, and what it rejects. `make two-stages` runs it against a stage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tools import bootstrap

REGION = "eu-central-1"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("s3", region_name=REGION)


@pytest.fixture
def qa(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the stage qa."""
    directory = tmp_path / "terraform" / "environments" / "qa"
    directory.mkdir(parents=True)
    (directory / "aws.tf").touch()
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", directory.parent)
    return directory


def test_a_second_run_uses_the_bucket_of_the_first(s3: Any, qa: Path) -> None:
    for _ in range(2):
        assert bootstrap.main(["qa", "--region", REGION]) == 0

    (bucket,) = s3.list_buckets()["Buckets"]
    assert bucket["Name"] == f"serverless-job-manager-state-123456789012-{REGION}"
    assert s3.get_bucket_location(Bucket=bucket["Name"])["LocationConstraint"] == REGION
    assert f'bucket = "{bucket["Name"]}"\nregion = "{REGION}"\n' in (qa / "backend.hcl").read_text()


def test_the_longest_region_still_gives_a_valid_bucket_name() -> None:
    assert len(bootstrap.bucket_name("123456789012", "ap-southeast-99")) <= 63


def test_an_existing_bucket_is_used_without_changes_if_it_is_versioned(s3: Any, qa: Path) -> None:
    s3.create_bucket(Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": REGION})
    with pytest.raises(bootstrap.BootstrapError, match="is not versioned"):
        bootstrap.main(["qa", "--region", REGION, "--bucket", "theirs"])
    assert not (qa / "backend.hcl").exists()

    s3.put_bucket_versioning(Bucket="theirs", VersioningConfiguration={"Status": "Enabled"})
    assert bootstrap.main(["qa", "--region", REGION, "--bucket", "theirs"]) == 0
    assert 'bucket = "theirs"' in (qa / "backend.hcl").read_text()
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket="theirs")


@pytest.mark.usefixtures("s3", "qa")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["uat", "--region", REGION], "cp -R terraform/environments/dev terraform/environments/uat"),
        (["qa"], "name one, for example: --region eu-central-1"),
    ],
)
def test_an_error_says_how_to_provide_what_is_missing(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
