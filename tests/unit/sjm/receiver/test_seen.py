"""An attempt is claimed once, whatever remembers it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sjm.receiver import DirectorySeen, DynamoDBSeen, MemorySeen, Seen
from tests.unit.sjm.receiver.dynamodb import Table


def memory(_: Path) -> Seen:
    return MemorySeen()


def directory(path: Path) -> Seen:
    return DirectorySeen(path / "seen")


def dynamodb(_: Path) -> Seen:
    return DynamoDBSeen("seen", client=Table())


stores = pytest.mark.parametrize("store", [memory, directory, dynamodb])


@stores
def test_an_attempt_is_claimed_once_until_it_is_forgotten(
    store: Callable[[Path], Seen], tmp_path: Path
) -> None:
    seen = store(tmp_path)

    assert isinstance(seen, Seen)
    assert [seen.claim("a", 1), seen.claim("a", 1), seen.claim("a", 2), seen.claim("b", 1)] == [
        True,
        False,
        True,
        True,
    ]
    seen.forget("a", 1)
    seen.forget("never", 1)
    assert [seen.claim("a", 1), seen.claim("a", 1), seen.claim("a", 2)] == [True, False, False]


@stores
def test_of_many_that_claim_at_once_one_wins(store: Callable[[Path], Seen], tmp_path: Path) -> None:
    seen = store(tmp_path)
    barrier = threading.Barrier(8)
    won: list[int] = []

    def claim(number: int) -> None:
        for attempt in range(20):
            barrier.wait(60)
            if seen.claim("a", attempt):
                won.append(attempt)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(won) == list(range(20))


def test_memory_forgets_after_its_time_and_beyond_its_size() -> None:
    now = 0.0
    seen = MemorySeen(keep_seconds=10, max_attempts=2, now=lambda: now)
    assert seen.claim("a", 1)
    now = 5
    assert [seen.claim("b", 1), seen.claim("a", 1)] == [True, False]
    now = 10
    assert [seen.claim("a", 1), seen.claim("b", 1)] == [True, False]
    assert seen.claim("c", 1)  # there is room for two, and b is the oldest

    assert [seen.claim("a", 1), seen.claim("b", 1)] == [False, True]


@pytest.mark.parametrize("options", [{"keep_seconds": 0}, {"max_attempts": 0}])
def test_memory_that_remembers_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        MemorySeen(**options)


def test_a_directory_is_shared_and_outlives_its_process(tmp_path: Path) -> None:
    assert DirectorySeen(tmp_path).claim("billing/../..", 1)

    assert not DirectorySeen(str(tmp_path)).claim("billing/../..", 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_forgets_old_claims(tmp_path: Path) -> None:
    now = 0.0
    seen = DirectorySeen(tmp_path, keep_seconds=60, now=lambda: now)
    assert seen.claim("a", 1)
    claimed_at = next(tmp_path.iterdir()).stat().st_mtime
    now = claimed_at + 30
    assert not seen.claim("a", 1)
    now = claimed_at + 100

    assert seen.claim("a", 1)
    with pytest.raises(ValueError, match="more than 0"):
        DirectorySeen(tmp_path, keep_seconds=0)


def test_two_processes_may_remove_old_claims_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = DirectorySeen(tmp_path, keep_seconds=60, now=lambda: 1e12)

    class Gone:
        name = "a" * 40
        path = str(tmp_path / "gone")

        def stat(self) -> None:
            raise FileNotFoundError

    class Entries:
        def __enter__(self) -> list[Gone]:
            return [Gone()]

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("os.scandir", lambda _: Entries())

    assert seen.claim("a", 1)


def test_a_directory_removes_only_its_own_files(tmp_path: Path) -> None:
    seen = DirectorySeen(tmp_path, keep_seconds=60, now=lambda: 1e12)
    kept = {"ledger.db", "0123456789abcdef0123456789abcdef01234567.json", "x" * 40}
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ("a" * 40)).mkdir()

    assert seen.claim("a", 1)
    assert kept < {each.name for each in tmp_path.iterdir()}


def test_an_old_claim_that_cannot_be_removed_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = DirectorySeen(tmp_path)
    assert seen.claim("old", 1)

    def refused(_: str) -> None:
        raise PermissionError

    monkeypatch.setattr("os.unlink", refused)
    later = DirectorySeen(tmp_path, now=lambda: 1e12)

    assert later.claim("new", 1)
    assert not later.claim("old", 1)
