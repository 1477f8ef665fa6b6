"""Runs a random life on the stage that `python -m local.stage run` provides, and reports every fault.

make life ARGS="--seconds 600 --seed 7"
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path

from botocore.credentials import Credentials
from localstack_client.session import Session

from tests.integration.contract import CheckedApi, Contract
from tests.life.report import live_and_check


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 1 if there was a fault."""
    parser = argparse.ArgumentParser("python -m tests.life", description="Random life from a seed.")
    parser.add_argument("--seconds", type=float, default=600, help="how long to act (default: 600)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of the plan (default: random)")
    parser.add_argument("--gap", type=float, default=0.8, help="mean seconds from action to action (0.8)")
    chosen = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if chosen.seed is None else chosen.seed
    key_id, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    region = os.environ["AWS_DEFAULT_REGION"]
    session = Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=region)
    outputs = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())
    contract = Contract.of_the_stage(outputs["api_url"])
    api = CheckedApi(outputs["api_url"], Credentials(key_id, secret), region, contract)
    found = live_and_check(session, outputs, api, seed, chosen.seconds, chosen.gap)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
