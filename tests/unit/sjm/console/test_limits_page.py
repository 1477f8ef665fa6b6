"""The page of limits: who holds their slots, who waits, and which jobs share them."""

from typing import Any

from jobmanager.core.names import execution_id, job_guid
from sjm.client import Job
from sjm.console.pages import limits
from tests.unit.sjm.console.stage_server import StageServer
from tests.unit.sjm.console.stage_stand_in import now_ms
from tests.unit.sjm.console.visitor import Visitor, text_of

DAILY: Job = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}


def prepare(server: StageServer) -> None:
    with server.manager() as manager:
        manager.put_limit("billing", "db-main", {"slots": 1, "description": "connections"})
        manager.put_limit("billing", "api", {"per_second": 5})
        manager.put_job("billing", "nightly", {**DAILY, "limit": "db-main"})
        manager.put_job("ledger", "nightly", DAILY)


def test_a_stage_without_limits_says_how_to_make_one(visitor: Visitor) -> None:
    assert "limits put billing/db-main --slots 3" in text_of(visitor.get("/limits").text)
    page = text_of(visitor.get("/limits?service=ledger").text)
    assert "ledger has no limit." in page
    assert "limits put ledger/db-main --slots 3" in page


def test_a_limit_shows_who_holds_it_who_waits_and_which_jobs_share_it(
    visitor: Visitor, stage_server: StageServer
) -> None:
    prepare(stage_server)
    held, unknown = (execution_id(job_guid("billing", name), now_ms()) for name in ("nightly", "gone"))
    stage_server.stage.use_limit("billing", "db-main", holders={held, unknown}, waiting_count=2)
    stage_server.stage.use_limit("billing", "api", next_start_ms=now_ms() + 600_000)
    for path in ("/limits", "/limits?service=billing"):
        page = visitor.get(path).text
        text = text_of(page)
        assert "db-main connections 2 of 1 held" in text
        assert f'href="/jobs/billing/nightly/executions/{held}"' in page
        assert f"<code>{unknown}</code>" in page
        assert "<strong>2</strong>" in page
        assert 'href="/jobs/billing/nightly?status=waiting"' in page
        assert "the next in" in text
        assert "limits-of-ledger" not in page


def test_the_executions_that_wait_are_shown_in_their_order(
    visitor: Visitor, stage_server: StageServer
) -> None:
    prepare(stage_server)
    stage = stage_server.stage
    with stage_server.manager() as manager:
        runs: list[dict[str, Any]] = [
            dict(manager.start_execution("billing", "nightly", payload=str(n))) for n in range(7)
        ]
    reason = {"code": "limit_reached", "detail": "no slot is free"}
    for number, run in enumerate(runs):
        at_ms = run["scheduled_time_ms"] - 1000 * number
        stage.add(
            {**run, "status": "waiting", "reason": reason, "limit": "db-main", "scheduled_time_ms": at_ms}
        )
    stage.use_limit("billing", "db-main", waiting_count=7)
    page = visitor.get("/limits?service=billing").text
    shown = [page.find(f"/executions/{run['execution_id']}") for run in reversed(runs)]

    assert shown[:5] == sorted(shown[:5])
    assert (min(shown[:5]) > 0, shown[5:]) == (True, [-1, -1])
    assert "<strong>2 more</strong>" in page


def test_a_job_leads_to_its_limit(visitor: Visitor, stage_server: StageServer) -> None:
    prepare(stage_server)
    page = visitor.get("/jobs/billing/nightly").text

    assert '<a href="/limits?service=billing">db-main</a>' in page


def test_a_limit_is_named_in_the_form_of_a_job(visitor: Visitor, stage_server: StageServer) -> None:
    prepare(stage_server)
    form = visitor.get("/jobs/billing/nightly/edit")
    assert 'name="limit" value="db-main"' in form.text
    visitor.submit(form, {"limit": ""})
    with stage_server.manager() as manager:
        assert "limit" not in manager.get_job("billing", "nightly")


def test_only_the_first_services_are_shown_and_the_rest_is_told(
    visitor: Visitor, stage_server: StageServer
) -> None:
    with stage_server.manager() as manager:
        for number in range(limits.MOST_SERVICES + 2):
            manager.put_job(f"service-{number:02}", "nightly", DAILY)
            manager.put_limit(f"service-{number:02}", "db-main", {"slots": 1})
    page = visitor.get("/limits").text

    assert "limits-of-service-09" in page
    assert "limits-of-service-10" not in page
    assert "2 more services" in text_of(page)


def test_what_could_not_be_read_is_told(visitor: Visitor, stage_server: StageServer) -> None:
    for _ in range(2):
        stage_server.stage.fail_next("GET /services/billing/limits", 503)
    page = visitor.get("/limits?service=billing").text

    assert 'role="alert"' in page
    assert "has no limit" not in text_of(page)


def test_what_can_be_no_service_is_not_found(visitor: Visitor) -> None:
    assert visitor.get("/limits?service=a%20b").status == 404
