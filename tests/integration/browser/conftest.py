"""A Chromium for each module of browser tests, and the console of a stage for it to open.

Without a browser the tests are skipped, and say so. With BROWSER_REQUIRED=1, as in CI, they fail.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sjm.client import Retries
from sjm.console.access import Access
from tests.integration.browser.ground import Ground, OnStandIn, on_stage
from tests.integration.conftest import required
from tests.unit.sjm.console.console_server import console
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage
from tools import browser as chromium

OTHER_HOST = "rebind.example"
AXE = Path(".local/axe/axe.min.js")
# Everything here is slow on a machine with much else to do. Nothing is fast because of it.
TIMEOUT_MS = 120_000

type Opened = Callable[..., Page]


def missing(what: str) -> NoReturn:
    """Skips the test, or fails it where browser tests are required."""
    why = f"{what} `make browser` gets it."
    if os.environ.get("BROWSER_REQUIRED"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """Chromium, without anything of an earlier run.

    Playwright's event loop runs in this thread until the fixture ends. Tests of other modules need their own.
    """
    path = chromium.found()
    if path is None:
        missing("There is no Chromium.")
    with sync_playwright() as playwright:
        # A site whose name leads to this machine.
        rules = f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1"
        browser = playwright.chromium.launch(
            executable_path=path, args=[*chromium.FLAGS, rules], timeout=TIMEOUT_MS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The script that checks a page for accessibility."""
    if not AXE.is_file():
        missing("axe-core is missing.")
    return AXE.read_text()


@pytest.fixture
def stand_in() -> Iterator[StageServer]:
    """A stage without jobs."""
    with served(Stage()) as server:
        yield server


@pytest.fixture
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The local stage; without one, a stand-in."""
    if not os.environ.get("STAGE_OUTPUTS"):
        server: StageServer = request.getfixturevalue("stand_in")
        with server.manager() as manager:
            yield OnStandIn(server, manager)
        return
    outputs: dict[str, Any] = request.getfixturevalue("outputs")
    from sjm.client import Manager

    with (
        Manager(
            url=outputs["api_url"],
            credentials=request.getfixturevalue("credentials"),
            region=required("AWS_DEFAULT_REGION"),
            timeout_seconds=90,
            retries=Retries(max_attempts=6),
        ) as manager,
        on_stage(request.getfixturevalue("scenario"), manager) as stage,
    ):
        yield stage


@pytest.fixture
def keys(ground: Ground) -> Iterator[Access]:
    """The console of the ground."""
    with console(ground.manager, ground.stage) as access:
        yield access


@contextmanager
def let_in(
    chrome: Browser, access: Access, *, may_complain: bool = False, **options: Any
) -> Iterator[BrowserContext]:
    """A browser that has opened the console. Fails at the end if a page broke its own rules.

    ``may_complain``: the browser is to refuse something of another site, and says so.
    """
    settings = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "Europe/Berlin", **options}
    context = chrome.new_context(**settings)
    context.set_default_timeout(TIMEOUT_MS)
    context.add_cookies([{"name": access.cookie_name, "value": access.session_key, "url": access.origin}])
    # The first page would be loaded again for the zone.
    context.add_cookies([{"name": "sjm-zone", "value": "Europe/Berlin", "url": access.origin}])
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda line: wrong.append(line.text) if is_wrong(line.text) else None)
    yield context
    context.close()
    assert may_complain or not wrong, f"the browser complained: {wrong[:5]}"


def is_wrong(line: str) -> bool:
    """Whether a line of the browser's console says that a page broke the policy of its own headers."""
    return any(each in line for each in ("Content Security Policy", "Refused to", "Uncaught"))


@pytest.fixture
def opened(chrome: Browser, keys: Access) -> Iterator[Opened]:
    """Opens a page of the console; options are those of a context of Playwright."""
    with ExitStack() as contexts:

        def open_page(path: str, **options: Any) -> Page:
            page = contexts.enter_context(let_in(chrome, keys, **options)).new_page()
            page.goto(f"{keys.origin}{path}", timeout=TIMEOUT_MS)
            return page

        yield open_page
