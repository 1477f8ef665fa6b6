"""cancel_execution: it records the end, or says how the execution has ended."""

import pytest

from jobmanager.core.errors import Conflict
from jobmanager.executions.begin import begin
from jobmanager.executions.cancel import cancel
from tests.unit.functions.examples import NOON_MS, due, save_job

pytestmark = pytest.mark.usefixtures("cloud")


def test_an_execution_that_was_skipped_is_not_cancelled() -> None:
    save_job(enabled=False)
    skipped = begin(due(), NOON_MS)
    with pytest.raises(Conflict, match="has ended as skipped"):
        cancel(skipped, "by ann", NOON_MS + 1000)
