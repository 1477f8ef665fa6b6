"""What the local stage's AWS is called: its region, account and keys, and a file that it writes."""

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
ACCESS_KEY = "test"
SECRET_KEY = "test"

# In the emulator's directory: what its IAM decided, see local/aws_behaviour/iam.py.
DECISIONS = "iam-decisions.jsonl"
