"""Creates the S3 bucket for a stage's Terraform state, and writes the stage's backend.hcl.

    python -m tools.bootstrap STAGE [--region eu-central-1] [--bucket an-existing-bucket]

One bucket serves all stages of an account in a region, each with its own key. The bucket is encrypted, keeps
old versions of a state for 90 days, and rejects calls without TLS and public access. The lock is an object in
the same bucket: https://developer.hashicorp.com/terraform/language/backend/s3#state-locking

You may run it again. It restores the bucket's settings, and writes backend.hcl, which is not committed, on
another machine. With --bucket, the bucket must exist and be versioned; its settings are not changed.

Terraform does not create the bucket, for two reasons. It would need a place for its own state first. And the
local stage's provider has these settings only inside aws_s3_bucket, while the provider of dev and prod has
them only as resources of their own. This program runs unchanged on the local stage, where it is tested.

Permissions: on the bucket, you need s3:CreateBucket, s3:ListBucket, s3:PutBucketPublicAccessBlock,
s3:PutBucketVersioning, s3:PutEncryptionConfiguration, s3:PutLifecycleConfiguration, s3:PutBucketTagging and
s3:PutBucketPolicy; with --bucket only s3:GetBucketVersioning. To run Terraform afterwards, you need
s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on
serverless-job-manager/STAGE.tfstate and STAGE.tfstate.tflock.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENVIRONMENTS = Path(__file__).resolve().parent.parent / "terraform" / "environments"
PROJECT = "serverless-job-manager"
DAYS_OF_OLD_VERSIONS = 90

BACKEND = """\
# Written by `make bootstrap STAGE={stage}`; not committed, as it differs by account.
bucket = "{bucket}"
region = "{region}"
"""


class BootstrapError(Exception):
    """The bucket cannot keep the state. The message says why, and what to do."""


def bucket_name(account: str, region: str) -> str:
    """The bucket's name for an account and a region. S3 allows 63 characters."""
    return f"{PROJECT}-state-{account}-{region}"


def make_bucket(s3: "S3Client", bucket: str, account: str, region: str) -> bool:
    """Creates the bucket unless it exists, and applies its settings. Returns whether the bucket is new."""
    is_new = _create(s3, bucket, region)
    s3.put_public_access_block(
        Bucket=bucket,
        ExpectedBucketOwner=account,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_versioning(
        Bucket=bucket, ExpectedBucketOwner=account, VersioningConfiguration={"Status": "Enabled"}
    )
    # Encryption with S3's own keys. The backend's `encrypt` asks for the same with every object.
    s3.put_bucket_encryption(
        Bucket=bucket,
        ExpectedBucketOwner=account,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        ExpectedBucketOwner=account,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "ForgetOldVersions",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": DAYS_OF_OLD_VERSIONS},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                    # Each release of the lock leaves a delete marker.
                    "Expiration": {"ExpiredObjectDeleteMarker": True},
                }
            ]
        },
    )
    s3.put_bucket_tagging(
        Bucket=bucket, ExpectedBucketOwner=account, Tagging={"TagSet": [{"Key": "project", "Value": PROJECT}]}
    )
    arn = f"arn:{s3.meta.partition}:s3:::{bucket}"
    s3.put_bucket_policy(Bucket=bucket, ExpectedBucketOwner=account, Policy=json.dumps(tls_only(arn)))
    return is_new


def _create(s3: "S3Client", bucket: str, region: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
    else:
        return False
    # S3 rejects us-east-1 as a LocationConstraint; it is the default:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    location: Any = {"LocationConstraint": region}
    if region == "us-east-1":
        s3.create_bucket(Bucket=bucket)
    else:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=location)
    return True


def tls_only(arn: str) -> dict[str, object]:
    """The bucket's policy: it denies calls without TLS, and allows nothing."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "RefuseCallsWithoutTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def check_bucket(s3: "S3Client", bucket: str) -> None:
    """Checks that an existing bucket can keep a state. Raises BootstrapError."""
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        raise BootstrapError(
            f"The bucket {bucket} is not versioned, so a damaged state could not be restored."
            " Turn on its versioning, or run this without --bucket to create a bucket."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        "python -m tools.bootstrap", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("stage", help="the name of a folder under terraform/environments")
    parser.add_argument(
        "--region", help="AWS region of the state and of the stage (default: your AWS configuration's)"
    )
    parser.add_argument("--bucket", help="keep the state in this existing bucket; its settings do not change")
    options = parser.parse_args(arguments)
    directory = ENVIRONMENTS / options.stage
    if not (directory / "aws.tf").exists():
        parser.error(
            f"there is no stage {options.stage} for AWS under terraform/environments; create it with:"
            f" cp -R terraform/environments/dev terraform/environments/{options.stage}"
        )
    region = options.region or os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        parser.error("no AWS region is configured; name one, for example: --region eu-central-1")
    session = boto3.Session(region_name=region)
    account = session.client("sts").get_caller_identity()["Account"]
    s3 = session.client("s3")
    bucket = options.bucket or bucket_name(account, region)
    if options.bucket:
        check_bucket(s3, bucket)
        print(f"{bucket}: used without changes")
    else:
        is_new = make_bucket(s3, bucket, account, region)
        created = "created" if is_new else "already exists"
        print(f"{bucket}: {created}; it is versioned, encrypted, private, and requires TLS")
    file = directory / "backend.hcl"
    file.write_text(BACKEND.format(stage=options.stage, bucket=bucket, region=region))
    print(f"{file.relative_to(ENVIRONMENTS.parent.parent)}: written; next: make plan STAGE={options.stage}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BootstrapError, BotoCoreError, ClientError) as error:
        sys.exit(str(error))
