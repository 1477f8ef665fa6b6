"""Makes the emulator answer as AWS does, where the two were seen to differ.

One function for each difference. Its docstring says what AWS does, and where AWS says so, and what the
emulator does without it; tests/integration/test_emulator.py holds a test for each. They were written against
one version of the emulator, and `apply` refuses any other, so that a new version is looked at first.
"""

from importlib.metadata import version

WRITTEN_FOR = "1.5.33"


class UnknownEmulator(Exception):
    """The emulator's version is not the one that the mending was written for."""


def apply() -> None:
    """Mends the emulator, in this process; to be called before it serves."""
    installed = version("ministack")
    if installed != WRITTEN_FOR:
        raise UnknownEmulator(
            f"local/aws_behaviour was written for ministack {WRITTEN_FOR}, and {installed} is installed: see"
            " with tests/integration/test_emulator.py what is still needed, and change WRITTEN_FOR"
        )
    from local.aws_behaviour import (
        athena,
        events,
        firehose,
        functions,
        http_api,
        iam,
        kms,
        sns,
        sqs,
        step_functions,
        tracing,
    )

    athena.apply()
    events.apply()
    firehose.apply()
    functions.apply()
    iam.apply()
    kms.apply()
    sns.apply()
    sqs.apply()
    step_functions.apply()
    tracing.apply()
    http_api.apply()  # the last: it imports the emulator's application
