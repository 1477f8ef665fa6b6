"""Makes the S3 bucket that keeps the Terraform state of a stage, and says so in the stage's backend.hcl.

    python -m tools.bootstrap STAGE [--region eu-central-1] [--bucket an-existing-bucket]

One bucket serves all stages of an account in a region, each with its own key. It keeps every version of a
state for 90 days, encrypted, and refuses whoever comes without TLS or from outside. The lock is an object in
the same bucket: https://developer.hashicorp.com/terraform/language/backend/s3#state-locking

This is no Terraform of its own, because that would need a place for its state first, and because the local
stage's provider knows the settings only inside aws_s3_bucket, and that of dev and prod only as resources
beside it. What is here is tried on the local stage as it is. Safe to run again: it puts right what somebody
changed, and is how a colleague, or CI, gets the backend.hcl, which is not committed.

A bucket that is given by its name must exist and keep versions, and is left as it is.

Whoever runs it needs, on the bucket, s3:CreateBucket, s3:ListBucket, s3:PutBucketPublicAccessBlock,
s3:PutBucketVersioning, s3:PutEncryptionConfiguration, s3:PutLifecycleConfiguration, s3:PutBucketTagging and
s3:PutBucketPolicy; with --bucket only s3:GetBucketVersioning. Whoever runs Terraform needs s3:ListBucket on
it, and s3:GetObject, s3:PutObject and s3:DeleteObject on serverless-job-manager/STAGE.tfstate and
STAGE.tfstate.tflock.
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
    """The state has no place to be kept; says why, and what to do."""


def bucket_name(account: str, region: str) -> str:
    """The one name, of at most 63 characters, for an account and a region."""
    return f"{PROJECT}-state-{account}-{region}"


def make_bucket(s3: "S3Client", bucket: str, account: str, region: str) -> bool:
    """Makes the bucket as it must be, or makes one that is there so again; answers whether it is new."""
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
    # With S3's own keys, which is also what the backend's `encrypt` asks for with every object.
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
                    # Each lock that is given back leaves such a marker.
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
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html: us-east-1 may not be named.
    place: Any = {"LocationConstraint": region}
    if region == "us-east-1":
        s3.create_bucket(Bucket=bucket)
    else:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    return True


def tls_only(arn: str) -> dict[str, object]:
    """The bucket's policy: it allows nothing, and refuses what is not encrypted on its way."""
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
    """Looks whether a bucket that somebody else made can keep a state."""
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        raise BootstrapError(
            f"The bucket {bucket} does not keep versions, so a state that goes wrong would be lost."
            " Turn its versioning on, or leave --bucket out to have a bucket made."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m tools.bootstrap", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("stage", help="the name of a folder under terraform/environments")
    parser.add_argument("--region", help="AWS region of the state, and of the stage (default: the shell's)")
    parser.add_argument("--bucket", help="keep the state in this bucket, which exists and is left as it is")
    options = parser.parse_args(arguments)
    directory = ENVIRONMENTS / options.stage
    if not (directory / "aws.tf").exists():
        parser.error(
            f"there is no stage {options.stage} for AWS; make one with:"
            f" cp -R terraform/environments/dev terraform/environments/{options.stage}"
        )
    region = options.region or os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        parser.error("say in which region, as in: --region eu-central-1")
    session = boto3.Session(region_name=region)
    account = session.client("sts").get_caller_identity()["Account"]
    s3 = session.client("s3")
    bucket = options.bucket or bucket_name(account, region)
    if options.bucket:
        check_bucket(s3, bucket)
        print(f"{bucket}: is used as it is")
    else:
        is_new = make_bucket(s3, bucket, account, region)
        print(f"{bucket}: {'made' if is_new else 'was there'}; versioned, encrypted, private, over TLS only")
    file = directory / "backend.hcl"
    file.write_text(BACKEND.format(stage=options.stage, bucket=bucket, region=region))
    print(f"{file.relative_to(ENVIRONMENTS.parent.parent)}: written; next: make plan STAGE={options.stage}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BootstrapError, BotoCoreError, ClientError) as error:
        sys.exit(str(error))
