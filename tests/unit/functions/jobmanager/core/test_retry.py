import pytest

from jobmanager.core.retry import tries


def pauses_of(
    most: int | None, first: float = 1.0, longest: float = 2.0, until: int = 100
) -> tuple[list[int], list[float]]:
    paused: list[float] = []
    numbers = []
    for number in tries(most, first, longest, pause=paused.append):
        numbers.append(number)
        if number == until:
            break
    return numbers, paused


def test_there_is_no_pause_before_the_first_try_and_none_after_the_last() -> None:
    numbers, paused = pauses_of(4, 1.0, 100.0)
    assert numbers == [0, 1, 2, 3]
    assert len(paused) == 3


def test_pauses_double_up_to_the_longest() -> None:
    _, paused = pauses_of(6, 1.0, 5.0)
    for pause, longest in zip(paused, (1, 2, 4, 5, 5), strict=True):
        assert longest / 2 <= pause <= longest


def test_without_a_maximum_it_retries_forever() -> None:
    assert pauses_of(None, until=50)[0] == list(range(51))


def test_pauses_have_jitter() -> None:
    assert len({pauses_of(2, 1.0)[1][0] for _ in range(20)}) > 1


def test_a_next_step_follows_without_a_pause_and_does_not_lengthen_the_next_one() -> None:
    pauses: list[float] = []
    failed = iter([False, False, True, False, True])
    assert list(tries(6, 1.0, 8.0, pauses.append, only_if=lambda: next(failed))) == [0, 1, 2, 3, 4, 5]
    assert len(pauses) == 2
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 2.0


def test_it_sleeps_if_no_pause_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert list(tries(3)) == [0, 1, 2]
    assert len(slept) == 2
