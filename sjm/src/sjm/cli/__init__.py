"""The command ``sjm``. Needs the extra: ``serverless-job-manager[cli]``.

Importing this module is cheap. botocore and rich are imported when a command needs them.
"""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command with the arguments of the process, and exits. See ``ExitCode`` for the codes."""
    try:
        from sjm.cli import process
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"sjm: {error.name} is not installed. Install it with the extra:"
            " pip install 'serverless-job-manager[cli]'\n"
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    process.run(sys.argv[1:])
