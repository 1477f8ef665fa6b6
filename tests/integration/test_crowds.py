"""Many jobs of both types that are due at once: each runs once and ends by its own callback."""

from collections.abc import Callable

import pytest

from local.api_client import ManagerApi
from local.crowd import Crowd
from tests.exhaustive import cases
from tests.integration.polling import patient
from tests.integration.scenario import Scenario

MANY = cases(150, 1000)
SECONDS = 300


@pytest.mark.samples
@pytest.mark.slow(2)
@pytest.mark.xdist_group("many executions")
def test_many_jobs_due_at_once_each_run_exactly_once(
    scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    api = ManagerApi.from_environment(scenario.outputs["api_url"])
    crowd = Crowd(api, scenario.outputs, scenario.service_name, scenario.schedule, MANY, is_mixed=True)
    with crowd.service() as service, crowd.registered(service):
        outcome = crowd.run(service, patient(SECONDS))

    record_property(
        "figures",
        f"{MANY} jobs at once: {outcome.starts_a_second:.0f} starts a second, all ended after"
        f" {outcome.last_end_at:.0f} s, {MANY / outcome.last_end_at:.1f} a second;"
        f" emulator's peak {outcome.emulator_peak_mb or 0:.0f} MB",
    )
    assert outcome.records_by_status == {"success": MANY}
    assert outcome.machines_by_status == {"SUCCEEDED": MANY // 2}
    assert (outcome.notified, outcome.notified_twice) == (MANY, 0)
    assert outcome.callbacks_by_answer[200] == MANY
