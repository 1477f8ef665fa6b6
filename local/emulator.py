"""The emulated AWS of the local stage: one process on 127.0.0.1, which keeps everything in memory.

Runs in the foreground: `python -m local.emulator PORT DIRECTORY`; local/stage.py starts and stops it.
"""

import gc
import os
import sys
from pathlib import Path

from local.emulated_account import ACCESS_KEY, ACCOUNT_ID, REGION, SECRET_KEY


def clean_environment() -> dict[str, str]:
    """The part of the developer's environment that the emulator gets. The rest must reach no function."""
    kept = ("PATH", "LANG", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"TZ": "UTC"}


def settings(port: int, directory: Path) -> dict[str, str]:
    """The environment of ministack and of the functions that it runs."""
    return {
        "AUTH": "true",  # IAM is enforced
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # else StartSyncExecution goes to sync-localhost
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": "127.0.0.1",
        "FAULTS_DIRECTORY": str(directory / "faults"),
        "GATEWAY_PORT": str(port),
        "HOME": str(directory),
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_ACCOUNT_CONCURRENCY": "0",  # no limit: a burst waits for a few processes
        "LAMBDA_EXECUTOR": "local",
        "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(directory),
    }


def main(arguments: list[str]) -> None:
    """Serves until it is stopped."""
    port, directory = int(arguments[0]), Path(arguments[1]).resolve()
    os.environ.update(settings(port, directory))
    # By default garbage is collected with every 2,000 new objects: a tenth of the emulator's CPU time.
    gc.set_threshold(50_000, 20, 100)
    from local import aws_behaviour, http_server, quick_expressions
    from local.faults import emulator as faults
    from local.patience import emulator as patience
    from local.quick_starts import emulator as quick_starts

    aws_behaviour.apply()
    http_server.apply()
    quick_expressions.apply()
    faults.apply()
    patience.apply()
    quick_starts.apply(directory / "unpacked")
    from ministack import app

    sys.argv = ["ministack"]
    app.main()


if __name__ == "__main__":
    main(sys.argv[1:])
