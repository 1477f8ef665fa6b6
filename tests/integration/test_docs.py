"""The docs do what they say: every block of commands in them is run, every link leads somewhere.

A page's `sh` blocks are run in their order by one bash, in an empty folder beside a copy of the environments,
as a reader would. What differs from a reader's machine: `.example` hosts are the local stage and this
machine; `make` runs for the local stage, and otherwise only shows that there is such a command; `terraform
output` answers for the local stage. A `python` block whose first line is `# name.py` is there as that file.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials

from tests.integration.conftest import required
from tests.integration.scenario import Scenario

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(PROJECT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
        *PROJECT.glob("docs/*.md"),
        *PROJECT.glob("terraform/modules/*/README.md"),
    ]
)
WITH_COMMANDS = [page for page in PAGES if "\n```sh\n" in page.read_text()]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# What stands in for a reader's machine and account.
_READER = """
set -euo pipefail
make() {
  case " $* " in
    *" STAGE=local "*) command make --no-print-directory -C "$PROJECT" "$@" ;;
    *) command make --no-print-directory -C "$PROJECT" --dry-run "$@" > /dev/null ;;
  esac
}
terraform() {
  local name=${!#}
  [[ " $* " == *" output -raw "* ]] || { echo "no test knows: terraform $*" >&2; return 1; }
  python3 -c 'import json, os, sys; print(json.load(open(os.environ["STAGE_OUTPUTS"]))[sys.argv[1]])' "$name"
}
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
"""


def name_of(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def callback_url(scenario: Scenario) -> str:
    """Of an execution that nobody else answers."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("by-hand")
        scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        url: str = service.received[0].notification["callback_url"]
        return url


def of_a_service(credentials: Credentials) -> dict[str, str]:
    """Who reads about a Terraform module owns the account."""
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
    }


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_every_command_does_what_the_page_says(
    page: Path,
    tmp_path: Path,
    outputs: dict[str, Any],
    credentials: Credentials,
    service_name: str,
    callback_url: str,
) -> None:
    port = str(free_port())
    here = {
        "https://manager.example": outputs["api_url"],
        "https://billing.example": f"http://localhost:{port}",
        "8080": port,
        "eu-central-1": required("AWS_DEFAULT_REGION"),
        "services/billing/": f"services/{service_name}/",
    }

    def as_here(text: str) -> str:
        for there, meant in here.items():
            text = text.replace(there, meant)
        return text

    shutil.copytree(
        PROJECT / "terraform" / "environments", tmp_path / "terraform" / "environments", symlinks=True
    )
    for block in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(as_here(block))
    done = subprocess.run(
        ["bash", "-c", _READER + as_here("\n".join(blocks(page, "sh")))],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # a reader's Python has botocore
            "PYTHONPATH": str(PROJECT / "sjm" / "src"),  # which a reader has installed
            "PROJECT": str(PROJECT),
            "CALLBACK_URL": callback_url,
            **({} if page.is_relative_to(PROJECT / "terraform") else of_a_service(credentials)),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@each_page
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, link


@each_page
def test_every_make_command_in_the_text_exists(page: Path) -> None:
    commands = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", prose(page))) <= commands


@each_page
def test_every_aws_command_in_the_text_exists(page: Path) -> None:
    for service, command in re.findall(r"`aws ([a-z0-9]+) ([a-z-]+)", prose(page)):
        assert hasattr(boto3.client(service), command.replace("-", "_")), f"aws {service} {command}"


@each_page
def test_every_block_of_json_and_of_terraform_parses(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "hcl"):
        done = subprocess.run(
            ["terraform", "fmt", "-"],
            input=textwrap.dedent(block),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
