"""The virtual environment is made of wheels with checked hashes, and of one package without a wheel."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# A fake Python that reports the wanted version, creates an environment of itself, and records other calls.
PYTHON = """\
#!/bin/sh
case "$*" in
  -c*) exit 0 ;;
  "-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  *) echo "$*" >> "{log}" ;;
esac
"""


def test_only_wheels_are_installed_and_only_by_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    for name in ("tools/make_venv", ".python-version"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    stub = tmp_path / f"python{(ROOT / '.python-version').read_text().strip()}"
    stub.write_text(PYTHON.format(log=tmp_path / "asked"))
    stub.chmod(0o755)

    subprocess.run(
        ["bash", "tools/make_venv", "venv", "lock.txt"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )

    asked, compiled = (tmp_path / "asked").read_text().splitlines()
    assert compiled.startswith("-m compileall ")
    assert asked.startswith("-m pip install ")
    assert {"--only-binary=:all:", "--require-hashes"} <= set(asked.split())
    assert [each for each in asked.split() if "no-binary" in each] == ["--no-binary=localstack-client"]
    assert (tmp_path / "venv" / ".installed").exists()
