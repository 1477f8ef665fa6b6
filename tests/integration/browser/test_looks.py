"""How pages look and weigh: accessibility by axe, no shift, few bytes, few requests, nothing when hidden."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sjm.console import links
from sjm.console.access import Access
from tests.integration.browser.conftest import TIMEOUT_MS, let_in
from tests.integration.browser.shown import DAILY, furnish
from tests.unit.sjm.console.console_server import console, console_apart
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.slow(4)]

MAX_WEIGHT = 150 * 1024
# A time that counts on may move the next word. Nobody sees so small a shift.
MAX_SHIFT = 0.001
# What WCAG 2.2 asks for on the levels A and AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SHIFT = """() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(each => { sum += each.value; }))
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => resolve(sum), 300);
})"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)[0]"
# Sets the page's clock ahead and tells where each column is. In one step: a live part may be replaced.
COLUMNS = """ms => {
  window.before ??= Date.now.bind(Date);
  Date.now = () => window.before() + ms;
  document.dispatchEvent(new Event('visibilitychange'));
  const columns = [...document.querySelectorAll('thead th')];
  return columns.map(each => [each.textContent, each.getBoundingClientRect().x]);
}"""
# Tells where the first field of the search form is: at first alone, and then with what follows it.
FIRST_FIELD = """() => {
  const form = document.querySelector('form.search'), [first, ...rest] = form.children;
  const place = () => { const {x, y, width} = first.getBoundingClientRect(); return [x, y, width]; };
  rest.forEach(each => each.remove());
  const alone = place();
  form.append(...rest);
  return [alone, place()];
}"""
HIDE = """() => {
  Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true});
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@contextmanager
def furnished() -> Iterator[tuple[Access, dict[str, str], StageServer]]:
    """The console of a stage with something of everything."""
    with served(Stage()) as server, server.manager() as manager:
        paths = furnish(server, manager)
        with console(manager) as access:
            yield access, paths, server


@contextmanager
def huge() -> Iterator[tuple[Access, dict[str, str], StageServer]]:
    """The console, in a process of its own, of a huge stage with something of everything."""
    with served(Stage(jobs=100_000, executions=1_000_000)) as server:
        with server.manager() as manager:
            paths = furnish(server, manager)
        with console_apart(server) as access:
            yield access, paths, server


def audit(page: Page, axe: str) -> list[str]:
    """What axe finds wrong with a page."""
    page.evaluate(axe)
    options = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
    found = page.evaluate(f"() => axe.run(document, {options})")
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def load(chrome: Browser, access: Access, path: str) -> tuple[float, float, float]:
    """Loads a page: how many bytes were sent, how much the layout shifted, and the ms to the first paint."""
    with let_in(chrome, access) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        weights: list[float] = []
        session.on("Network.loadingFinished", lambda each: weights.append(each["encodedDataLength"]))
        page.goto(f"{access.origin}{path}", timeout=TIMEOUT_MS)
        page.wait_for_load_state("networkidle", timeout=TIMEOUT_MS)
        return sum(weights), page.evaluate(SHIFT), page.evaluate(PAINT)


@pytest.mark.samples(1)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(chrome: Browser, axe: str, scheme: Any, width: int) -> None:
    wrong: list[str] = []
    with furnished() as (access, paths, _):
        options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
        with let_in(chrome, access, **options) as context:
            page = context.new_page()

            def look(name: str) -> None:
                wrong.extend(f"{name}: {each}" for each in audit(page, axe))
                overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
                wrong.extend([f"{name} is {overflow} px wider than the window"] * (overflow > 0))

            for name, path in paths.items():
                page.goto(f"{access.origin}{path}", timeout=TIMEOUT_MS)
                look(name)
                assert page.title() != "hit"
            page.goto(f"{access.origin}{paths['running']}", timeout=TIMEOUT_MS)
            page.locator("#cancel").click()
            expect(page.get_by_role("dialog")).to_be_visible()
            look("dialog")
            page.goto(f"{access.origin}/new", timeout=TIMEOUT_MS)
            page.get_by_label("Silence allowed").fill("soon")
            with page.expect_navigation():
                page.get_by_role("button", name="Create the job").click()
            look("form with errors")
    assert not wrong, "\n".join(wrong)


def test_pages_are_light_and_do_not_shift(
    chrome: Browser, record_property: Callable[[str, object], None]
) -> None:
    figures = []
    with huge() as (access, paths, server):
        for name, path in paths.items():
            if name in ("not found", "no such job"):
                continue
            # A starved browser shows a table piece by piece, and each piece may widen a column. It is asked
            # again then: a page that shifts by itself does so each time.
            shifts: list[float] = []
            while len(shifts) < 3:
                before = len(server.stage.received)
                weight, shift, paint = load(chrome, access, path)
                shifts.append(shift)
                asked = len(server.stage.received) - before
                figure = f"{name}: {paint:.0f} ms, {weight / 1024:.0f} KiB, {asked} requests to the API"
                assert 0 < weight <= MAX_WEIGHT, figure
                assert asked <= 40, figure
                if shift < MAX_SHIFT:
                    figures.append(figure)
                    break
            else:
                pytest.fail(f"{name} shifts each time: {shifts}")
    record_property("figures", "first paint and weight of the console's pages: " + "; ".join(figures))


def test_the_fields_of_a_search_stay_where_they_are_while_further_ones_come(chrome: Browser) -> None:
    with furnished() as (access, paths, _), let_in(chrome, access) as context:
        page = context.new_page()
        for name in ("jobs", "limits", "what failed"):
            page.goto(f"{access.origin}{paths[name]}", timeout=TIMEOUT_MS)
            alone, with_others = page.evaluate(FIRST_FIELD)
            assert alone == with_others, name


def test_columns_stay_where_they_are_while_times_count_on(chrome: Browser) -> None:
    with furnished() as (access, paths, _), let_in(chrome, access) as context:
        page = context.new_page()
        for name in ("jobs", "job", "after others"):
            page.goto(f"{access.origin}{paths[name]}", timeout=TIMEOUT_MS)
            columns, times = page.evaluate(COLUMNS, 0), page.locator("td time").all_text_contents()
            for seconds in (8, 15, 58, 61, 15 * 60, 5 * 3600, 23 * 3600 + 59 * 60, 30 * 3600):
                assert page.evaluate(COLUMNS, seconds * 1000) == columns, f"{name}, {seconds} s later"
            assert page.locator("td time").all_text_contents() != times, name


def test_a_page_that_nobody_sees_asks_nothing(chrome: Browser) -> None:
    with furnished() as (access, paths, server), let_in(chrome, access) as context:
        page = context.new_page()
        page.goto(f"{access.origin}{paths['running']}", timeout=TIMEOUT_MS)
        with page.expect_response(lambda response: paths["running"] in response.url, timeout=TIMEOUT_MS):
            pass  # it asks by itself while it is seen
        page.evaluate(HIDE)
        page.wait_for_timeout(1000)
        asked = len(server.stage.received)
        page.wait_for_timeout(12_000)
        assert len(server.stage.received) == asked


def test_a_part_that_is_replaced_does_not_shift_or_take_the_focus(chrome: Browser) -> None:
    with furnished() as (access, paths, _), let_in(chrome, access) as context:
        page = context.new_page()
        page.goto(f"{access.origin}{paths['running']}", timeout=TIMEOUT_MS)
        page.locator("#cancel").focus()
        with page.expect_response(lambda response: paths["running"] in response.url, timeout=TIMEOUT_MS):
            pass
        page.wait_for_timeout(500)
        expect(page.locator("#cancel")).to_be_focused()
        assert page.evaluate(SHIFT) < 0.001


def test_the_form_shows_what_applies_to_its_kind_of_target(chrome: Browser) -> None:
    with furnished() as (access, _, _), let_in(chrome, access) as context:
        page = context.new_page()
        page.goto(f"{access.origin}/new", timeout=TIMEOUT_MS)
        target, test = page.get_by_label("Target"), page.get_by_label("Test a webhook before saving")
        calls_back = page.get_by_label("The service calls back")
        for kind, placeholder, is_webhook in (("sns", "arn:", False), ("http", "https://", True)):
            page.get_by_label("Called by").select_option(kind)
            expect(test).to_be_visible(visible=is_webhook)
            expect(calls_back).to_be_visible(visible=is_webhook)
            assert (target.get_attribute("placeholder") or "").startswith(placeholder)
            expect(page.get_by_text("The https URL of the webhook.")).to_be_visible(visible=is_webhook)


def test_a_chain_scrolls_in_its_box_and_stays_there_when_it_is_drawn_again(chrome: Browser) -> None:
    with (
        furnished() as (access, paths, _),
        let_in(chrome, access, viewport={"width": 390, "height": 900}) as context,
    ):
        page = context.new_page()
        page.goto(f"{access.origin}{paths['chain']}", timeout=TIMEOUT_MS)
        box = page.locator("#chain-box")
        here = box.locator(".here > rect").bounding_box()
        assert here and here["x"] >= 0 and here["x"] + here["width"] <= 390
        box.evaluate("each => each.scrollTo(33, 0)")
        page.get_by_text("As a list").click()
        with page.expect_response(lambda response: paths["chain"] in response.url, timeout=TIMEOUT_MS):
            pass
        page.wait_for_timeout(500)
        assert box.evaluate("each => each.scrollLeft") == 33
        page.locator("#chain-list").get_by_role("link", name="reminders").click()
        expect(page.get_by_role("heading", name="Execution of billing/reminders")).to_be_visible()
        page.locator("a:has(title:text-is('invoices: succeeded'))").click()
        expect(page.get_by_role("heading", name="Execution of billing/invoices")).to_be_visible()


def test_no_table_is_cut_off_in_a_narrow_window(chrome: Browser) -> None:
    with (
        furnished() as (access, paths, _),
        let_in(chrome, access, viewport={"width": 390, "height": 900}) as context,
    ):
        page = context.new_page()
        for name in ("jobs", "job", "failed", "what failed", "schedules"):
            page.goto(f"{access.origin}{paths[name]}", timeout=TIMEOUT_MS)
            hidden = "all => all.map(each => each.scrollWidth - each.clientWidth)"
            widths = page.locator(".scroll").evaluate_all(hidden)
            assert widths, name
            assert max(widths) <= 0, name


@pytest.mark.parametrize("width", [390, 3840])
def test_a_huge_stage_is_shown_in_parts(chrome: Browser, width: int) -> None:
    with (
        huge() as (access, _, server),
        let_in(chrome, access, viewport={"width": width, "height": 1000}) as context,
        server.manager() as manager,
    ):
        page = context.new_page()
        page.goto(f"{access.origin}/new", timeout=TIMEOUT_MS)
        in_use = len(list(manager.list_schedules(limit=100)))
        expect(page.locator("input[type=radio][name=schedule]")).to_have_count(in_use + 1)
        page.get_by_label("Find a schedule").fill("rate(5")
        expect(page.locator("[data-choice]:visible")).to_have_count(1)
        page.goto(f"{access.origin}/rerun", timeout=TIMEOUT_MS)
        assert 1 <= page.locator("input[name=run]").count() <= 100


def test_everything_works_without_javascript(chrome: Browser) -> None:
    with (
        furnished() as (access, paths, server),
        server.manager() as manager,
        let_in(chrome, access, java_script_enabled=False) as context,
    ):
        page = context.new_page()
        page.goto(f"{access.origin}{paths['running']}", timeout=TIMEOUT_MS)
        page.get_by_role("link", name="Cancel …").click()
        page.get_by_role("button", name="Cancel the execution").click()
        expect(page.get_by_text("The execution is cancelled.")).to_be_visible()
        page.goto(f"{access.origin}/new", timeout=TIMEOUT_MS)
        page.get_by_label("Service", exact=True).fill("billing")
        page.get_by_label("Name", exact=True).fill("plain")
        page.get_by_label("Called by").select_option("sns")
        page.locator(f'input[type=radio][value="{DAILY}"]').check()
        page.get_by_role("button", name="Create the job").click()
        expect(page.get_by_text("Created billing/plain, version 1.")).to_be_visible()
        assert manager.get_job("billing", "plain")["schedule"] == DAILY
        page.goto(f"{access.origin}{links.job('billing', 'plain', 'edit')}", timeout=TIMEOUT_MS)
        page.get_by_label("Owner").fill("ann")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Changed billing/plain, version 2.")).to_be_visible()
