"""What people do with the console, in a browser, on the local stage."""

import re

import pytest
from playwright.sync_api import Page, expect

from sjm.console import links
from tests.integration.browser.conftest import TIMEOUT_MS, Opened
from tests.integration.browser.ground import Ground, failed_run, put

pytestmark = [pytest.mark.xdist_group("browser stories"), pytest.mark.slow(3)]

expect.set_options(timeout=TIMEOUT_MS)
# Fires in a time in which nobody looks.
NEVER_NOW = "cron(0 3 1 1 ? 2190)"


def send(page: Page, name: str) -> None:
    """Presses a button, and waits for the page to which it leads."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def test_a_job_on_an_existing_schedule_fires_is_followed_fails_and_is_rerun(
    ground: Ground, opened: Opened
) -> None:
    put(ground, "first", ground.schedule)
    service = ground.service_name

    page = opened("/new")
    page.get_by_label("Service", exact=True).fill(service)
    page.get_by_label("Name", exact=True).fill("nightly")
    page.locator(f'input[type=radio][value="{ground.schedule}"]').check()
    expect(page.locator("#preview")).to_contain_text("Europe/Berlin")
    page.get_by_label("Called by").select_option("sns")
    send(page, "Create the job")
    expect(page.get_by_text(f"Created {service}/nightly, version 1.")).to_be_visible()
    assert ground.manager.get_job(service, "nightly")["schedule"] == ground.schedule

    ground.tick()
    url = ground.callback_url("nightly")
    (run,) = ground.manager.list_executions_of_job(service, "nightly")
    page.goto(page.url.split("/jobs/")[0] + links.execution(service, "nightly", run["execution_id"]))
    expect(page.locator(".status.running")).to_be_visible()
    ground.manager.call_back(url, {"status": "processing", "progress": 40})
    expect(page.get_by_text(re.compile("Progress: 40"))).to_be_visible()
    ground.manager.call_back(
        url, {"status": "fail", "error": "LedgerLocked", "summary": "the table is in use"}
    )
    expect(page.get_by_role("heading", name="Why")).to_be_visible()
    expect(page.get_by_text("LedgerLocked").first).to_be_visible()

    page.get_by_role("link", name="Rerun …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Rerun this execution of {service}/nightly?")
    send(page, "Rerun it")
    expect(page.get_by_text("It runs again, with the same payload.")).to_be_visible()
    ground.manager.call_back(ground.callback_url("nightly", 2), {"status": "success", "summary": "closed"})
    expect(page.locator(".status.success")).to_be_visible()
    expect(page.get_by_text("closed").first).to_be_visible()


def test_a_job_is_edited_while_somebody_else_edits_it(ground: Ground, opened: Opened) -> None:
    put(ground, "nightly", NEVER_NOW, owner="ann", ttl_seconds=120)
    service = ground.service_name
    page = opened(links.job(service, "nightly", "edit"))
    page.get_by_label("Owner").fill("carla")
    put(ground, "nightly", NEVER_NOW, owner="bob", ttl_seconds=200)

    send(page, "Save")
    expect(page.get_by_role("heading", name=f"{service}/nightly has changed meanwhile")).to_be_visible()
    assert ground.manager.get_job(service, "nightly")["owner"] == "bob"
    expect(page.locator('input[name="choice.ttl_seconds"][value=theirs]')).to_be_checked()
    expect(page.locator('input[name="choice.owner"][value=mine]')).to_be_checked()
    send(page, "Save this")
    expect(page.get_by_text(f"Changed {service}/nightly, version 3.")).to_be_visible()
    job = ground.manager.get_job(service, "nightly")
    assert (job["owner"], job["ttl_seconds"]) == ("carla", 200)


def test_a_paused_job_does_not_fire_until_it_is_resumed(ground: Ground, opened: Opened) -> None:
    put(ground, "nightly", ground.schedule)
    service = ground.service_name
    page = opened(links.job(service, "nightly"))
    page.get_by_role("link", name="Pause …").click()
    page.get_by_label("Why").fill("the ledger is being migrated")
    send(page, "Pause it")
    expect(page.get_by_text("The job is paused.")).to_be_visible()
    expect(page.get_by_text("the ledger is being migrated")).to_be_visible()
    assert ground.manager.get_job(service, "nightly")["next_fire_times"] == []

    ground.tick()
    assert not [
        run for run in ground.manager.list_executions_of_job(service, "nightly") if run["status"] == "running"
    ]
    page.get_by_role("link", name="Resume …").click()
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button").click()
    expect(page.get_by_text("The job fires again")).to_be_visible()
    assert "paused" not in ground.manager.get_job(service, "nightly")


def test_what_failed_is_rerun_in_one_go(ground: Ground, opened: Opened) -> None:
    for name in ("a", "b"):
        put(ground, name, NEVER_NOW)
        failed_run(ground, name)
    service = ground.service_name

    page = opened(links.search("/rerun", service=service, hours="1"))
    expect(page.get_by_text("2 of 2 chosen")).to_be_visible()
    page.get_by_role("button", name="Choose none").click()
    page.get_by_role("checkbox", name=f"Rerun {service}/a of").check()
    expect(page.get_by_text("1 of 2 chosen")).to_be_visible()
    page.get_by_role("button", name="Choose all").click()
    send(page, "Rerun the chosen ones …")
    expect(page.get_by_role("heading", name="Rerun 2 executions of 2 jobs?")).to_be_visible()
    send(page, "Rerun 2 executions")
    expect(page.get_by_role("heading", name="2 executions started")).to_be_visible()
    for name in ("a", "b"):
        assert ground.callback_url(name, 2)


def test_an_execution_is_cancelled_by_the_keyboard_alone(ground: Ground, opened: Opened) -> None:
    put(ground, "nightly", NEVER_NOW)
    run = ground.manager.start_execution(ground.service_name, "nightly")
    ground.callback_url("nightly")
    page = opened(links.execution(ground.service_name, "nightly", run["execution_id"]))

    page.locator("#cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Why, if you like")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.locator("#cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Why, if you like")).to_be_focused()
    page.keyboard.type("wrong ledger")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_text("The execution is cancelled.")).to_be_visible()
    ended = ground.manager.get_execution(ground.service_name, "nightly", run["execution_id"])
    assert (ended["status"], "wrong ledger" in ended["cause"]) == ("cancelled", True)


def test_an_expression_is_explained_while_one_types(ground: Ground, opened: Opened) -> None:
    put(ground, "first", NEVER_NOW)
    page = opened("/new")
    page.get_by_label("Expression").press_sequentially("cron(0 2 ? * MON-FRI *)", delay=20)
    expect(page.locator("#preview")).to_contain_text("at 02:00 UTC from Monday to Friday")
    expect(page.locator("#preview li")).to_have_count(5)
    expect(page.locator("#schedule-another")).to_be_checked()
    page.get_by_label("Expression").fill("cron(99 2 ? * MON-FRI *)")
    expect(page.locator("#preview")).to_contain_text("expected 0-59")


def test_nothing_typed_is_lost_after_an_error(ground: Ground, opened: Opened) -> None:
    put(ground, "first", NEVER_NOW)
    page = opened("/new")
    page.get_by_label("Service", exact=True).fill(ground.service_name)
    page.get_by_label("Name", exact=True).fill("second")
    page.get_by_label("Called by").select_option("sns")
    page.locator(f'input[type=radio][value="{NEVER_NOW}"]').check()
    page.get_by_label("Silence allowed").fill("1")
    page.get_by_label("Payload").fill('{"a": "<b>"}\n')
    send(page, "Create the job")

    expect(page.locator("#wrong")).to_be_focused()
    silence = page.get_by_label("Silence allowed")
    expect(silence).to_have_value("1")
    expect(silence).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Payload")).to_have_value('{"a": "<b>"}\n')
    silence.fill("60")
    send(page, "Create the job")
    expect(page.get_by_text(f"Created {ground.service_name}/second")).to_be_visible()
    assert (
        ground.manager.get_job(ground.service_name, "second")["payload"].replace("\r\n", "\n")
        == '{"a": "<b>"}\n'
    )
