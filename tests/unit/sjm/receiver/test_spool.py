"""What is in the spool outlives its process, and belongs to one process at a time."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sjm.receiver.spool import Spool

DOCUMENT = {"name": "nightly", "callback_url": "https://manager.example/callback/secret", "body": None}


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "spool"
    Spool(directory).begin("x", 1, DOCUMENT)

    (file,) = files(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_bytes()) == DOCUMENT


def test_an_entry_is_replaced_and_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = spool.begin("x", 1, DOCUMENT)
    entry.replace(body={"status": "success"})

    assert spool.has("x", 1)
    assert not spool.has("x", 2)
    (file,) = files(tmp_path)
    assert json.loads(file.read_bytes()) == {**DOCUMENT, "body": {"status": "success"}}
    entry.remove()
    assert files(tmp_path) == []
    assert not spool.has("x", 1)


def test_what_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    ours = Spool(tmp_path)
    entry = ours.begin("x", 1, DOCUMENT)

    assert list(ours.left_behind()) == []
    assert list(Spool(tmp_path).left_behind()) == []  # flock tells apart even two spools of one process
    entry.replace(body={})
    assert list(Spool(tmp_path).left_behind()) == []
    entry.let_go()
    (found,) = Spool(tmp_path).left_behind()
    assert found.document == {**DOCUMENT, "body": {}}
    assert list(ours.left_behind()) == []
    found.remove()
    assert list(ours.left_behind()) == []


def test_what_a_killed_process_had_begun_is_found(tmp_path: Path) -> None:
    code = f"""
import os, signal
from sjm.receiver.spool import Spool
entry = Spool({str(tmp_path)!r}).begin("x", 1, {DOCUMENT!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "sjm/src"}, check=False)

    (found,) = Spool(tmp_path).left_behind()
    assert found.document == DOCUMENT


def test_an_entry_can_be_removed_where_its_file_is_gone(tmp_path: Path) -> None:
    entry = Spool(tmp_path).begin("x", 1, DOCUMENT)
    files(tmp_path)[0].unlink()
    entry.remove()

    assert files(tmp_path) == []


def test_a_disk_that_is_full_raises_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    entry = spool.begin("x", 1, DOCUMENT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fsync", full)
        entry.replace(body={})
    (file,) = files(tmp_path)
    assert json.loads(file.read_bytes()) == DOCUMENT
    entry.replace(body={"status": "success"})
    entry.remove()


def test_a_file_is_whole_even_if_it_is_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    Spool(tmp_path).begin("x", 1, DOCUMENT)

    assert json.loads(files(tmp_path)[0].read_bytes()) == DOCUMENT


def test_what_is_no_entry_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("not ours")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    spool = Spool(tmp_path)

    assert list(spool.left_behind()) == []
    assert list(spool.left_behind()) == []
    assert len(files(tmp_path)) == 3


def test_a_file_that_was_replaced_while_it_was_opened_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.begin("x", 1, DOCUMENT).let_go()
    (file,) = files(tmp_path)
    opened = os.open

    def open_and_replace(path: str, *arguments: int) -> int:
        descriptor = opened(path, *arguments)
        monkeypatch.setattr(os, "open", opened)
        file.rename(tmp_path / "old")
        file.write_text("{}")
        return descriptor

    monkeypatch.setattr(os, "open", open_and_replace)

    assert list(spool.left_behind()) == []


def test_a_file_that_a_dead_process_was_writing_goes_after_a_minute(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in (".old", ".new", ".held"):
        (tmp_path / name).write_text("{")
    for name in (".old", ".held"):
        os.utime(tmp_path / name, (0, 0))
    with (tmp_path / ".held").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert list(spool.left_behind()) == []

    assert [file.name for file in files(tmp_path)] == [".held", ".new"]


def test_it_says_where_it_cannot_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)

    with pytest.raises(NotImplementedError, match="flock"):
        Spool(tmp_path)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.json").write_text("{")
    spool = Spool(tmp_path)
    for _ in range(3):
        assert list(spool.left_behind()) == []

    assert caplog.text.count("broken.json") == 1


def test_an_attempt_that_is_not_surely_on_disk_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)

    def broken(_: Spool) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "_sync_directory", broken)
    with pytest.raises(OSError, match="Input/output"):
        spool.begin("x", 1, DOCUMENT)

    assert files(tmp_path) == []
