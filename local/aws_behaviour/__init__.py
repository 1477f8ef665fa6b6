"""Makes the emulator answer as AWS does, where the two differ.

There is one function for each difference. Its docstring says what AWS does, which page of AWS says so, and
what the emulator does without the function. tests/integration/test_emulator.py has a test for each, and
test_scheduler_emulator.py for those of EventBridge Scheduler. The functions were written for one version of
the emulator. `apply` refuses any other version, so that somebody checks it first.
"""

from importlib.metadata import version

WRITTEN_FOR = "1.5.33"


class UnknownEmulator(Exception):
    """The emulator's version is not the one that these functions were written for."""


def apply() -> None:
    """Corrects the emulator in this process. Call this before it serves."""
    installed = version("ministack")
    if installed != WRITTEN_FOR:
        raise UnknownEmulator(
            f"local/aws_behaviour was written for ministack {WRITTEN_FOR}, but {installed} is installed. Run"
            " tests/integration/test_*emulator.py to see what is still needed, then change WRITTEN_FOR"
        )
    from local.aws_behaviour import (
        athena,
        events,
        express,
        firehose,
        functions,
        http_api,
        iam,
        kms,
        scheduler,
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
    scheduler.apply()
    sns.apply()
    sqs.apply()
    step_functions.apply()
    express.apply()
    tracing.apply()
    http_api.apply()  # the last: it imports the emulator's application
