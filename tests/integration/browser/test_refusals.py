"""Nobody but a page of the console acts on a stage: tried in the browser of somebody who has it open."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sjm.console import links
from sjm.console.access import Access
from tests.integration.browser.conftest import OTHER_HOST, TIMEOUT_MS, Opened, let_in
from tests.integration.browser.ground import Ground, put

pytestmark = pytest.mark.xdist_group("browser")

NEVER_NOW = "cron(0 3 1 1 ? 2190)"


@contextmanager
def site(html: str) -> Iterator[int]:
    """A site of somebody else on this machine. Returns its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def runs(ground: Ground) -> int:
    return len(list(ground.manager.list_executions_of_job(ground.service_name, "nightly")))


@pytest.fixture
def rerun_path(ground: Ground) -> str:
    """The path whose POST would rerun an execution."""
    put(ground, "nightly", NEVER_NOW)
    run = ground.manager.start_execution(ground.service_name, "nightly")
    return links.execution(ground.service_name, "nightly", run["execution_id"], "rerun")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", OTHER_HOST])
def test_a_page_of_another_origin_neither_acts_nor_reads(
    chrome: Browser, keys: Access, ground: Ground, rerun_path: str, host: str
) -> None:
    target = f"{keys.origin}{rerun_path}"
    # The worst case: somebody has learned the key of the forms.
    html = f"""<form id="f" method="post" action="{target}"><input name="form_key" value="{keys.form_key}">
        <button>Win</button></form><iframe src="{keys.origin}/jobs"></iframe>"""
    with site(html) as port, let_in(chrome, keys, may_complain=True) as context:
        page = context.new_page()
        page.goto(f"http://{host}:{port}/", timeout=TIMEOUT_MS)
        read = page.evaluate(
            "url => fetch(url, {credentials: 'include'}).then(r => r.text()).catch(e => 'refused')",
            f"{keys.origin}/jobs",
        )
        assert read == "refused"
        assert not any(
            frame.url.startswith(keys.origin) for frame in page.frames[1:] if "nightly" in frame.content()
        )
        with page.expect_navigation():
            page.get_by_role("button", name="Win").click()
        assert "Not from another page" in page.content() or "You are not signed in" in page.content()
    assert runs(ground) == 1


def test_a_wrong_host_is_refused(chrome: Browser, keys: Access) -> None:
    with let_in(chrome, keys) as context:
        page = context.new_page()
        answer = page.goto(f"http://{OTHER_HOST}:{keys.port}/jobs", timeout=TIMEOUT_MS)
        assert answer is not None
        assert answer.status == 421
        expect(page.get_by_role("heading", name="Wrong address")).to_be_visible()


def test_a_form_with_a_wrong_key_does_nothing(opened: Opened, ground: Ground, rerun_path: str) -> None:
    page: Page = opened(rerun_path)
    page.evaluate("document.querySelectorAll('[name=form_key]').forEach(each => { each.value = 'x' })")
    with page.expect_navigation():
        page.get_by_role("button", name="Rerun it").click()
    expect(page.get_by_role("heading", name="The page is too old")).to_be_visible()
    assert runs(ground) == 1


def test_without_the_cookie_nothing_is_shown(chrome: Browser, keys: Access) -> None:
    context = chrome.new_context()
    page = context.new_page()
    answer = page.goto(f"{keys.origin}/jobs", timeout=TIMEOUT_MS)
    assert answer is not None
    assert answer.status == 401
    opened = page.goto(keys.url, timeout=TIMEOUT_MS)
    assert opened is not None
    assert opened.status == 200
    assert "key=" not in page.url
    second = chrome.new_context().new_page()
    again = second.goto(keys.url, timeout=TIMEOUT_MS)
    assert again is not None
    assert again.status == 401
    second.context.close()
    context.close()
