"""make scan finds unsafe settings in a changed copy of Terraform. `make check` scans the real one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "terraform" / "modules"

# The module, the text that is removed from its main.tf, and the finding that must follow.
UNSAFE = {
    "a queue without a key": (
        "dead_letter_queue",
        "  kms_master_key_id         = var.kms_key_arn\n",
        "CKV_AWS_27: Ensure all data stored in the SQS queue is encrypted",
    ),
    "a log without a key": (
        "function",
        "  kms_key_id        = var.defaults.kms_key_arn\n",
        "CKV_AWS_158: Ensure that CloudWatch Log Group is encrypted by KMS",
    ),
    "a log for ever": (
        "state_machine",
        "  retention_in_days = var.log_retention_days\n",
        "CKV_AWS_66: Ensure that CloudWatch Log Group specifies retention days",
    ),
    "a function without traces": (
        "function",
        '  tracing_config {\n    mode = "Active"\n  }\n',
        "CKV_AWS_50: X-Ray tracing is enabled for Lambda",
    ),
    "an exception without a reason": (
        "function",
        ": only functions that reach targets may need a VPC: network",
        "CKV_AWS_117: skipped without a reason",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a scan of the modules, with all safeguards of UNSAFE removed."""
    scanned = tmp_path_factory.mktemp("unsafe terraform")
    shutil.copytree(MODULES, scanned, dirs_exist_ok=True)
    for module, safeguard, _ in UNSAFE.values():
        file = scanned / module / "main.tf"
        text = file.read_text()
        assert safeguard in text
        file.write_text(text.replace(safeguard, ""))
    done = subprocess.run(
        ["make", "scan", f"SCANNED={scanned}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr  # make's code for a command that failed
    return done.stderr


@pytest.mark.parametrize("finding", [finding for *_, finding in UNSAFE.values()], ids=UNSAFE)
def test_the_scan_finds_each_removed_safeguard(finding: str, said: str) -> None:
    assert finding in said


@pytest.mark.xdist_group("scan")
def test_the_scan_finds_nothing_else(said: str) -> None:
    found = [line for line in said.splitlines() if line.startswith("CKV")]

    assert len(found) == len(UNSAFE)
