"""Takes the pictures of the console for README.md and docs/, from a console that is open on a stage.

    python -m tools.screenshots URL            URL: what `sjm console` printed; it works once
    python -m tools.screenshots URL docs       another directory

It looks for a job that has failed, so that there is something to see. Run the demo on the stage before.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tools import browser

PROJECT = Path(__file__).resolve().parent.parent
MAX_BYTES = 150 * 1024
SIZE: ViewportSize = {"width": 1280, "height": 760}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_JOB = re.compile(r"/jobs/[^/]+/[^/?]+")
_EXECUTION = re.compile(r"/jobs/[^/]+/[^/]+/executions/[^/?]+")
# The page of a job has its charts by then.
_SECONDS_TO_SETTLE = 2


class ScreenshotError(Exception):
    """A picture cannot be taken. The message says why."""


def take_all(chrome: Browser, url: str, directory: Path) -> Iterator[tuple[Path, int]]:
    """Takes each page in light and in dark. Yields the files with their sizes in bytes."""
    session = _opened(chrome, url)
    origin = re.match(r"https?://[^/]+", url)
    if origin is None:
        raise ScreenshotError(f"{url!r} is not the URL of a console: expected http://127.0.0.1:PORT/?key=…")
    for scheme in SCHEMES:
        context = chrome.new_context(
            viewport=SIZE,
            color_scheme=scheme,
            storage_state=session.storage_state(),
            timezone_id="Europe/Berlin",
        )
        page = context.new_page()
        for name, path in _pages(page, origin[0]).items():
            target = directory / f"console-{name}-{scheme}.png"
            size = _taken(page, f"{origin[0]}{path}", target)
            yield target, size
        context.close()


def _opened(chrome: Browser, url: str) -> BrowserContext:
    """A browser that has opened the console by its URL."""
    context = chrome.new_context(timezone_id="Europe/Berlin")
    page = context.new_page()
    try:
        answer = page.goto(url)
    except PlaywrightError as error:
        raise ScreenshotError(f"There is no console at that URL: {error.message.splitlines()[0]}") from error
    if answer is None or answer.status != 200:
        raise ScreenshotError("The console does not open. Its URL works once: start `sjm console` again.")
    return context


def _pages(page: Page, origin: str) -> dict[str, str]:
    """The paths of the pages by name. A job and an execution are found as one finds them: by links."""
    page.goto(f"{origin}/rerun?hours=168")
    execution = _first(page, _EXECUTION)
    if execution is None:
        page.goto(f"{origin}/")
        execution = _first(page, _EXECUTION)
    page.goto(f"{origin}/jobs")
    job = _JOB.match(execution) if execution else None
    job_path = job[0] if job else _first(page, _JOB)
    if execution is None or job_path is None:
        raise ScreenshotError("The stage has no job with an execution to show. Run the demo on it before.")
    return {
        "now": "/",
        "job": job_path,
        "execution": execution,
        "schedules": "/schedules",
        "form": f"{job_path}/edit",
    }


def _first(page: Page, path: re.Pattern[str]) -> str | None:
    """The first link of a page that leads to such a path."""
    paths = [link.get_attribute("href") or "" for link in page.locator("main a").all()]
    return next((each for each in paths if path.fullmatch(each)), None)


def _taken(page: Page, url: str, target: Path) -> int:
    answer = page.goto(url)
    if answer is None or answer.status != 200:
        raise ScreenshotError(f"{target.name}: the page answers {answer.status if answer else 'nothing'}.")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(_SECONDS_TO_SETTLE * 1000)
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target, animations="disabled", scale="css")
    size = target.stat().st_size
    if size > MAX_BYTES:
        raise ScreenshotError(f"{target.name} has {size} bytes; expected at most {MAX_BYTES}.")
    return size


def main(arguments: Sequence[str] | None = None) -> int:
    """Takes the pictures and names them. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Takes the pictures of the console for the docs.")
    parser.add_argument("url", metavar="URL", help="what `sjm console` printed")
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", type=Path, default=PROJECT / "docs")
    given = parser.parse_args(arguments)
    path = browser.found()
    if path is None:
        print("There is no Chromium. `make browser` gets it.", file=sys.stderr)
        return 1
    try:
        with sync_playwright() as playwright:
            chrome = playwright.chromium.launch(executable_path=path, args=[*browser.FLAGS])
            for target, size in take_all(chrome, given.url, given.directory):
                print(f"{target}: {size / 1024:.0f} KiB")
            chrome.close()
    except ScreenshotError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
