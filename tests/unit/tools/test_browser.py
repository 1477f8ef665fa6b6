"""Chromium is found on the PATH, or where Playwright keeps its own."""

import sys
from pathlib import Path

import pytest

from tools import browser
from tools.browser import NoBrowser


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one directory on the PATH, and the home, of a machine without a browser."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PLAYWRIGHT_BROWSERS_PATH", raising=False)
    return tmp_path


def let_apt_get(directory: Path, program: str) -> None:
    """Makes an apt-get that runs this program, and a sudo for it that asks for no password."""
    executable(directory / "apt-get").write_text(f"#!{sys.executable}\n{program}")
    executable(directory / "sudo").write_text('#!/bin/sh\nshift; exec "$@"\n')
    executable(directory / "true")


def test_a_command_on_the_path_comes_before_playwrights(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    assert browser.found(environment) is None

    own = executable(tmp_path / ".cache" / "ms-playwright" / "chromium-1200" / "chrome-linux64" / "chrome")
    assert browser.found(environment) == own

    command = executable(tmp_path / "bin" / "google-chrome")
    assert browser.found(environment) == command


@pytest.mark.usefixtures("bare")
def test_without_apt_the_message_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NoBrowser, match=r"no apt-get to install it. Install chromium-headless-shell, chro"):
        browser.install()
    assert browser.main() == 1
    assert "There is no Chromium" in capsys.readouterr().err


def test_a_failed_installation_shows_why(bare: Path) -> None:
    let_apt_get(bare, "import sys; print('E: no such package'); sys.exit(100)\n")

    with pytest.raises(NoBrowser, match="apt-get update failed:\nE: no such package"):
        browser.install()


def test_without_a_package_of_the_headless_shell_the_whole_browser_is_installed(bare: Path) -> None:
    program = f"""
import pathlib, sys
match sys.argv[-1]:
    case "update":
        pass
    case "chromium":
        command = pathlib.Path({str(bare)!r}, "chromium")
        command.write_text("#!/bin/sh")
        command.chmod(0o755)
    case package:
        sys.exit(f"E: Unable to locate package {{package}}")
"""
    let_apt_get(bare, program)

    assert browser.install() == bare / "chromium"
