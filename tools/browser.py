"""Finds Chromium, which the browser tests and the screenshots drive.

    python -m tools.browser    prints where it is; installs a package of Debian first if none is found

A package is installed only where apt-get is there and runs as root, or by sudo without a password.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The headless shell, which has no window, comes first: it needs half the CPU time of the whole browser.
COMMANDS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
# Root may not use the sandbox. A page of the console needs no GPU, and the browser calls nobody by itself.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_OF_PLAYWRIGHT = ("chromium_headless_shell-*/chrome-*/*headless*shell", "chromium-*/chrome-linux*/chrome")
_HEADLESS_SHELL, _WHOLE_BROWSER = COMMANDS[:2]  # Debian's packages have the names of their commands
_INSTALL = ("install", "-y", "--no-install-recommends")
_APT_SECONDS = 600


class NoBrowser(Exception):
    """There is no Chromium, and it cannot be installed here. The message says what to do."""


def found(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path of Chromium: a command on the PATH, or a browser that Playwright has installed."""
    for command in COMMANDS:
        if path := shutil.which(command, path=environment.get("PATH")):
            return Path(path)
    default = Path(environment.get("HOME", "/")) / ".cache" / "ms-playwright"
    directory = Path(environment.get("PLAYWRIGHT_BROWSERS_PATH") or default)
    return next(
        (path for each in _OF_PLAYWRIGHT for path in sorted(directory.glob(each), reverse=True)), None
    )


def install() -> Path:
    """Returns where Chromium is, and installs it with apt-get if it is nowhere. Raises NoBrowser."""
    if path := found():
        return path
    prefix = _rights()
    _apt_get(prefix, "update")
    try:
        _apt_get(prefix, *_INSTALL, _HEADLESS_SHELL)
    except NoBrowser:  # an older Debian has only the whole browser
        _apt_get(prefix, *_INSTALL, _WHOLE_BROWSER)
    path = found()
    if path is None:
        raise NoBrowser(f"apt-get installed Chromium, and none of {', '.join(COMMANDS)} is on the PATH.")
    return path


def _apt_get(prefix: Sequence[str], *arguments: str) -> None:
    """Runs apt-get. Raises NoBrowser with the end of its output if it fails."""
    done = subprocess.run(
        [*prefix, "apt-get", "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_APT_SECONDS,
    )
    if done.returncode != 0:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise NoBrowser(f"apt-get {arguments[0]} failed:\n{lines}")


def _rights() -> list[str]:
    """What to put before apt-get. Raises NoBrowser if it cannot be run."""
    how = f"Install {', '.join(COMMANDS[:3])} or {COMMANDS[3]}, so that it is on the PATH."
    if shutil.which("apt-get") is None:
        raise NoBrowser(f"There is no Chromium, and no apt-get to install it. {how}")
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if (
        shutil.which("sudo")
        and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    ):
        return sudo
    raise NoBrowser(f"There is no Chromium, and you may not run apt-get as root. {how}")


def main() -> int:
    """Prints the path of the browser. Returns the exit code."""
    try:
        print(install())
    except NoBrowser as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
