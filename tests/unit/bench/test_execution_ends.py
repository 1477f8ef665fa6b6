import pytest

from bench.execution_ends import sweep_due

GRACE = 60


def record(**seconds: int) -> dict[str, dict[str, str]]:
    return {name: {"N": str(value)} for name, value in seconds.items()}


@pytest.mark.parametrize(("now", "due"), [(1059, None), (1062, 1060)])
def test_the_sweep_comes_when_the_record_says_so(now: int, due: int | None) -> None:
    found = record(sweep_at=1060, lock_expires_at=1300)
    assert sweep_due(found, now, GRACE, only_overdue=False) == due


@pytest.mark.parametrize(("now", "due"), [(1065, None), (1072, 1060)])
def test_a_sweep_before_the_execution_is_overdue_is_left_out(now: int, due: int | None) -> None:
    found = record(sweep_at=1060, lock_expires_at=1010)
    assert sweep_due(found, now, GRACE, only_overdue=True) == due


def test_no_sweep_comes_for_a_record_that_is_settled() -> None:
    assert sweep_due(record(lock_expires_at=1010), 9999, GRACE, only_overdue=False) is None
