"""The virtual environment is made of wheels with checked hashes, and of one package without a wheel."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# A fake Python that reports the wanted version, creates an environment of itself, and records other calls.
PYTHON = """\
#!/bin/sh
case "$*" in
  -c*) exit 0 ;;
  "-m venv --clear"*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *) echo "$*" >> "{log}" ;;
esac
"""


def make_venv(directory: Path, *arguments: str) -> list[str]:
    """Runs the script in a project of its own. Returns what it asked Python for."""
    (directory / "tools").mkdir(exist_ok=True)
    for name in ("tools/make_venv", ".python-version"):
        (directory / name).write_bytes((ROOT / name).read_bytes())
    stub = directory / f"python{(ROOT / '.python-version').read_text().strip()}"
    stub.write_text(PYTHON.format(log=directory / "asked"))
    stub.chmod(0o755)
    (directory / "asked").unlink(missing_ok=True)
    subprocess.run(
        ["bash", "tools/make_venv", *arguments],
        cwd=directory,
        env={"PATH": f"{directory}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    return (directory / "asked").read_text().splitlines()


def test_only_wheels_are_installed_and_only_by_their_hashes(tmp_path: Path) -> None:
    asked, compiled = make_venv(tmp_path, "venv", "lock.txt")
    assert compiled.startswith("-m compileall ")
    assert asked.startswith("-m pip install ")
    assert {"--only-binary=:all:", "--require-hashes"} <= set(asked.split())
    assert [each for each in asked.split() if "no-binary" in each] == ["--no-binary=localstack-client"]


def test_an_environment_is_made_anew_or_kept_and_added_to(tmp_path: Path) -> None:
    make_venv(tmp_path, "venv", "lock.txt")
    left_over = tmp_path / "venv" / "left-over"
    left_over.touch()
    asked, _ = make_venv(tmp_path, "--add", "venv", "more.txt")
    assert asked.endswith(" --requirement more.txt")
    assert left_over.exists()
    make_venv(tmp_path, "venv", "lock.txt")
    assert not left_over.exists()
