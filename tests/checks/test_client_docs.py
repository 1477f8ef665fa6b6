"""A type checker finds nothing wrong with the examples of docs/client.md, and would find a mistake."""

import subprocess
import sys
from pathlib import Path

from tests.unit.sjm.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = [
    ('"overlap": "skip"', '"overlap": "queue"'),
    ('status=["fail", "timeout"]', 'status=["failed"]'),
    ('if_match=job["version"]', 'if_match=job["verison"]'),
]


def errors(examples: list[str], directory: Path) -> str:
    for number, example in enumerate(examples):
        (directory / f"example_{number}.py").write_text(example)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            ROOT / "pyproject.toml",
            "--scripts-are-modules",
            ".",
        ],
        cwd=directory,
        env={"MYPYPATH": str(ROOT / "sjm" / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def test_the_examples_have_no_type_errors(tmp_path: Path) -> None:
    assert len(EXAMPLES) > 5
    assert errors(EXAMPLES, tmp_path) == ""


def test_a_mistake_in_an_example_is_found(tmp_path: Path) -> None:
    wrong = []
    for right, mistake in MISTAKES:
        (example,) = (each for each in EXAMPLES if right in each)
        wrong.append(example.replace(right, mistake))
    found = errors(wrong, tmp_path)

    for number in range(len(MISTAKES)):
        assert f"example_{number}.py" in found
