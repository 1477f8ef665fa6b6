"""The messages of make plan, apply and destroy before anything is built and Terraform runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BACKEND = 'bucket = "b"\nregion = "eu-central-1"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with a stage dev that has a place for its state. Its Terraform records its arguments."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in ("dev", "local"):
        (tmp_path / "terraform" / "environments" / stage).mkdir(parents=True)
    (folder(tmp_path) / "backend.hcl").write_text(BACKEND)
    (tmp_path / "terraform.log").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "terraform").write_text(
        f'#!/bin/sh\necho "$2" >> "{tmp_path}/terraform.log"\necho "$*" >> "{tmp_path}/arguments.log"\n'
        'case "$2" in plan) exit "${PLANNED:-0}";; show) echo "{\\"show\\": 1}";; esac\n'
    )
    (tmp_path / "bin" / "terraform").chmod(0o755)
    return tmp_path


def folder(checkout: Path) -> Path:
    return checkout / "terraform" / "environments" / "dev"


def ask(checkout: Path, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
    done = subprocess.run(
        [checkout / "tools" / "terraform_stage", *arguments],
        env={"PATH": f"{checkout / 'bin'}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr, (checkout / "terraform.log").read_text().split()


def test_a_stage_without_a_place_for_its_state_fails_before_anything_is_built(checkout: Path) -> None:
    (folder(checkout) / "backend.hcl").unlink()
    code, said, asked = ask(checkout, "check", "dev", "plan")

    assert (code, asked) == (2, [])
    assert "Create it with: make bootstrap STAGE=dev" in said


@pytest.mark.parametrize("goal", ["plan", "apply", "destroy"])
def test_make_looks_for_the_stage_before_it_builds(goal: str) -> None:
    command = ["make", "-n", goal, "STAGE=dev"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert f'terraform_stage check "dev" "{goal}"' in planned
    assert planned.index("terraform_stage check") < planned.index("tools.package")


def test_the_local_stage_and_unknown_stages_are_refused_with_advice(checkout: Path) -> None:
    assert "For the local stage use: make up" in ask(checkout, "check", "local", "plan")[1]
    assert "Choose one of: dev" in ask(checkout, "check", "nowhere", "plan")[1]


def test_an_apply_requires_the_provider_lock_of_its_plan(checkout: Path) -> None:
    for arguments in (("check", "dev", "apply"), ("apply", "dev")):
        code, said, asked = ask(checkout, *arguments)
        assert (code, asked) == (2, [])
        assert "First run: make plan STAGE=dev" in said
    assert ask(checkout, "plan", "dev") == (0, "", ["init", "plan"])
    (folder(checkout) / ".terraform.lock.hcl").touch()
    assert ask(checkout, "apply", "dev") == (0, "", ["init", "plan", "init", "apply"])


def arguments(checkout: Path) -> list[str]:
    """What Terraform was asked, without init and the folder."""
    asked = (checkout / "arguments.log").read_text().splitlines()
    return [each.partition(" ")[2] for each in asked if " init " not in each]


@pytest.fixture
def reviewing(checkout: Path) -> Path:
    """A checkout with a Python that notes what it reviews."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\necho "$*" >> "{checkout}/reviewed.log"\ncat >> "{checkout}/reviewed.log"\n'
    )
    python.chmod(0o755)
    return checkout


def test_a_plan_ends_with_the_review_of_its_jobs(reviewing: Path) -> None:
    code, _, asked = ask(reviewing, "plan", "dev", "-refresh=false")

    assert (code, asked) == (0, ["init", "plan", "show"])
    file = ".terraform/last.tfplan"
    assert arguments(reviewing) == [f"plan -out={file} -refresh=false", f"show -json {file}"]
    assert (reviewing / "reviewed.log").read_text() == '-m tools.review_plan\n{"show": 1}\n'
    assert (folder(reviewing) / file).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["-out=own.tfplan"], ["show -json own.tfplan"]),
        (["-out", "own.tfplan", "-refresh=false"], ["show -json own.tfplan"]),
        (["-json"], []),
        (["-help"], []),
    ],
)
def test_the_arguments_of_the_user_go_to_terraform_as_they_are(
    reviewing: Path, given: list[str], shown: list[str]
) -> None:
    ask(reviewing, "plan", "dev", *given)

    assert arguments(reviewing) == [f"plan {' '.join(given)}", *shown]


def test_arguments_in_the_environment_keep_their_file(reviewing: Path) -> None:
    ask(reviewing, "plan", "dev", TF_CLI_ARGS_plan="-out=own.tfplan")

    assert arguments(reviewing) == ["plan"]


@pytest.mark.parametrize(("code", "is_reviewed"), [(1, False), (2, True)])
def test_the_exit_code_is_that_of_the_plan(reviewing: Path, code: int, is_reviewed: bool) -> None:
    assert ask(reviewing, "plan", "dev", "-detailed-exitcode", PLANNED=str(code))[0] == code
    assert (reviewing / "reviewed.log").exists() == is_reviewed


def test_a_review_that_fails_does_not_fail_the_plan(reviewing: Path) -> None:
    (reviewing / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 3\n")

    assert ask(reviewing, "plan", "dev")[0] == 0
