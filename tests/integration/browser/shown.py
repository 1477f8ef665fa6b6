"""A stage with something of everything that pages show, and the addresses of all pages."""

from typing import Any

from sjm.client import Manager
from sjm.console import links
from tests.unit.sjm.console.stage_server import StageServer

DAILY = "cron(0 2 * * ? *)"
HOSTILE = "<script>document.title='hit'</script><img src=x onerror=document.title='hit'>\u202egnp.exe"


def furnish(server: StageServer, manager: Manager) -> dict[str, str]:
    """Creates jobs and executions; returns the path of each page by name."""
    stage = server.stage
    jobs: dict[str, Any] = {
        "nightly": {"schedule": DAILY, "exclusive": True, "owner": "Doe, Jane", "tags": {"team": "payments"}},
        "export": {"schedule": "rate(5 minutes)", "retry": {"max_attempts": 3, "interval_seconds": 30}},
        "hostile": {"schedule": DAILY, "description": HOSTILE, "owner": HOSTILE, "payload": HOSTILE},
        "paused": {"schedule": "cron(30 6 ? * MON-FRI *)"},
    }
    for name, job in jobs.items():
        whole: Any = {"invocation_type": "sns", **job}
        manager.put_job("billing", name, whole)
    manager.pause_job("billing", "paused", "the ledger is being migrated")

    running = manager.start_execution("billing", "nightly")
    manager.call_back(stage.callback_url("nightly"), {"status": "processing", "progress": 62})
    failed = manager.start_execution("billing", "export", payload='{"ledger": 7}')
    identifier = failed["execution_id"]
    for number in (1, 2, 3):
        if number > 1:
            stage.next_attempt(identifier)
        url = stage.callback_url("export")
        manager.call_back(
            url, {"status": "fail", "error": "LedgerLocked", "summary": "the table is in use by another"}
        )
    hostile = manager.start_execution("billing", "hostile")
    error = {"name": HOSTILE, "token": "whsec_c2VjcmV0c2VjcmV0"}
    manager.call_back(stage.callback_url("hostile"), {"status": "fail", "error": error, "summary": HOSTILE})
    (skipped,) = (each for each in stage.fire(DAILY) if each["job_name"] == "nightly")

    manager.put_job("billing", "gone", {"schedule": DAILY, "invocation_type": "sns"})
    cancelled = manager.start_execution("billing", "gone")
    manager.cancel_execution("billing", "gone", cancelled["execution_id"], reason="the wrong ledger")
    orphan: Any = {"after": {"job": "gone"}, "invocation_type": "sns"}
    manager.put_job("billing", "orphan", orphan)
    manager.delete_job("billing", "gone")
    chained = run_chain(server, manager)

    def run(job_name: str, execution: Any, *more: str) -> str:
        return links.execution("billing", job_name, execution["execution_id"], *more)

    return {
        "now": "/",
        "jobs": "/jobs",
        "job": links.job("billing", "nightly"),
        "paused": links.job("billing", "paused"),
        "deleted": links.job("billing", "gone"),
        "cancelled": run("gone", cancelled),
        "pause": links.job("billing", "nightly", "pause"),
        "run": links.job("billing", "nightly", "run"),
        "test": links.job("billing", "nightly", "test"),
        "delete": links.job("billing", "nightly", "delete"),
        "backfill": links.job("billing", "nightly", "backfill"),
        "running": run("nightly", running),
        "failed": run("export", failed),
        "hostile": run("hostile", hostile),
        "skipped": run("nightly", skipped),
        "cancel": run("nightly", running, "cancel"),
        "rerun": run("export", failed, "rerun"),
        "chain": run("report", chained),
        "after others": links.job("billing", "report"),
        "orphan": links.job("billing", "orphan"),
        "schedules": "/schedules",
        "limits": "/limits",
        "reconcile": "/schedules/reconcile",
        "new": "/new",
        "edit": links.job("billing", "hostile", "edit"),
        "what failed": "/rerun",
        "nothing failed": "/rerun?service=nobody",
        "not found": "/nowhere",
        "no such job": links.job("billing", "nobody", "edit"),
    }


def run_chain(server: StageServer, manager: Manager) -> Any:
    """Creates jobs that run after others, and runs them until the last one runs. Returns its execution."""
    jobs: dict[str, list[str]] = {
        "close-the-books-of-the-month": [],
        "invoices": ["close-the-books-of-the-month"],
        "payments": ["close-the-books-of-the-month"],
        "reminders": ["invoices"],
        "report": ["invoices", "payments"],
    }
    ends = {"reminders": "fail", "report": ""}
    for name, parents in jobs.items():
        starts = {"after": [{"job": each} for each in parents]} if parents else {"schedule": DAILY}
        whole: Any = {**starts, "invocation_type": "sns"}
        manager.put_job("billing", name, whole)
    manager.start_execution("billing", "close-the-books-of-the-month")
    for name in jobs:
        if status := ends.get(name, "success"):
            body: Any = {"status": status}
            manager.call_back(server.stage.callback_url(name), body)
    return next(iter(manager.list_executions_of_job("billing", "report")))
