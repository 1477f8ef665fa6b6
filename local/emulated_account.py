"""The region, account and keys of the local stage's emulated AWS, and a file that it writes."""

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
ACCESS_KEY = "test"
SECRET_KEY = "test"

# The recorded decisions of IAM, in the emulator's directory; see local/aws_behaviour/iam.py.
DECISIONS = "iam-decisions.jsonl"
