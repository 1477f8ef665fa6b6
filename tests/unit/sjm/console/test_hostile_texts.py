"""What services wrote is shown as text on every page: no markup, no secret, nothing that hides."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from unittest.mock import patch

import pytest

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from sjm.console import texts
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage, now_ms
from tests.unit.sjm.console.visitor import Visitor, text_of, visiting

SERVICE, JOB = "billing", "nightly"
GUID = job_guid(SERVICE, JOB)
TOKEN = "Zk3vT9aQ_wE-7yLm"
CALLBACK_URL = f"https://api.example/callback/{GUID}-20261123T020000Z.2.{TOKEN}"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></textarea></pre><svg onload=alert(1)>"
    "<!-- content -->{{ 7*7 }}{% raw %}\u202egnp.exe\u2066\u200b\x00\x1b[31m\x9b\u2028"
    f" {CALLBACK_URL} {SECRET} https://user:hunter2@db.example/ javascript:alert(1)"
)
# Names stand in addresses, and the API lets none hold a secret.
NAME = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{ 7*7 }}\u202egnp.exe\u200b"
IDENTIFIERS = {
    status: execution_id(GUID, now_ms() // 1000 * 1000 - 60_000 * number, f"h{number}")
    for number, status in enumerate(
        ("running", "fail", "timeout", "skipped", "success", "cancelled", "waiting")
    )
}
OF_A_JOB = f"/jobs/{SERVICE}/{JOB}"
# It runs after the one that failed, in a job whose name is hostile, too.
CHILD = execution_id(GUID, now_ms() // 1000 * 1000, "child")
PAGES = [
    "/",
    "/live/now",
    "/live/days",
    "/jobs",
    "/jobs?service=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    f"/jobs?owner={'%22%3E%3Cimg%20src%3Dx%3E'}&more=%3Cscript%3E",
    OF_A_JOB,
    f"{OF_A_JOB}?status=%3Cscript%3Ealert(1)%3C%2Fscript%3E&more=%3Cscript%3E",
    f"{OF_A_JOB}/live",
    *(f"{OF_A_JOB}/{act}" for act in ("run", "pause", "resume", "test", "delete", "edit")),
    *(f"{OF_A_JOB}/executions/{each}" for each in IDENTIFIERS.values()),
    f"{OF_A_JOB}/executions/{IDENTIFIERS['running']}/cancel",
    f"{OF_A_JOB}/executions/{IDENTIFIERS['waiting']}/cancel",
    f"{OF_A_JOB}/executions/{IDENTIFIERS['fail']}/rerun",
    f"/jobs/{SERVICE}/follower",
    f"/jobs/{SERVICE}/follower/resume",
    f"/jobs/{SERVICE}/follower/delete",
    "/rerun",
    "/schedules",
    "/limits",
    f"/limits?service={SERVICE}",
    "/limits?service=%3Cscript%3E",
    f"/services/{SERVICE}/secrets",
    "/services/%3Cscript%3E/secrets",
    "/%3Cscript%3Ealert(1)%3C%2Fscript%3E?notice=%3Cscript%3E",
]


class Markup(HTMLParser):
    """Notes what a page could do: its scripts, its handlers, its inline styles and its addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "script" and not given.get("src", "").startswith("/static/"):
            self.wrong.append("an inline script")
        if tag in ("style", "iframe", "object", "embed", "base", "img"):
            self.wrong.append(tag)
        self.wrong += [name for name in given if name.startswith(("on", "hx-on")) or name == "style"]
        for name in ("href", "src", "action", "hx-get"):
            if name in given and not given[name].startswith(("/", "#")):
                self.wrong.append(f"{name}={given[name]}")


def fill(stage: Stage) -> None:
    job = {
        "schedule": "rate(5 minutes)",
        "invocation_type": "http",
        "invocation_target": "https://billing.example/jobs",
        "payload": HOSTILE,
        "test_invocation": False,
    }
    stage.put_job(SERVICE, JOB, job, {})
    past = {"finished_at_ms": now_ms(), "scheduled_time": iso(now_ms()), "scheduled_time_ms": now_ms()}
    stage.change(
        SERVICE,
        JOB,
        description=HOSTILE,
        owner=HOSTILE,
        tags={HOSTILE[:100]: HOSTILE[:200]},
        updated_by=HOSTILE,
        managed_by=HOSTILE,
        invocation_target=f"https://billing.example/?{HOSTILE}",
        paused={"reason": HOSTILE, "paused_at": iso(now_ms()), "paused_by": HOSTILE},
        lock_execution=IDENTIFIERS["running"],
        lock_expires_at=iso(now_ms() + 60_000),
        last_execution={**past, "execution_id": IDENTIFIERS["fail"], "status": "fail", "summary": HOSTILE},
        last_successful_execution={
            **past,
            "execution_id": IDENTIFIERS["success"],
            "status": "success",
            "state": HOSTILE,
        },
    )
    stage.put_limit(SERVICE, "db-main", {"slots": 1, "description": HOSTILE}, {})
    stage.use_limit(SERVICE, "db-main", updated_by=HOSTILE, holders={IDENTIFIERS["running"]})
    stage.put_job(SERVICE, "follower", {"after": {"job": JOB}, "invocation_type": "sns"}, {})
    stage.change(SERVICE, "follower", after=[{"job": NAME, "on": [HOSTILE]}, {"job": JOB, "on": ["fail"]}])
    for number, (status, identifier) in enumerate(IDENTIFIERS.items()):
        stage.add(hostile_execution(status, identifier, now_ms() - 60_000 * number))
    stage.add(hostile_execution(HOSTILE, CHILD, now_ms()) | {"job_name": NAME})


def hostile_execution(status: str, identifier: str, at_ms: int) -> dict[str, Any]:
    execution: dict[str, Any] = {
        "service_name": SERVICE,
        "job_name": JOB,
        "job_guid": GUID,
        "execution_id": identifier,
        "status": status,
        "schedule": "rate(5 minutes)",
        "invocation_target": HOSTILE,
        "payload": HOSTILE,
        "exclusive": True,
        "scheduled_time": iso(at_ms),
        "scheduled_time_ms": at_ms,
        "started_at_ms": at_ms,
        "started_by": HOSTILE,
        "attempt": 1,
        "summary": HOSTILE,
        "state": HOSTILE,
        "correlation_id": HOSTILE,
        "cause": HOSTILE,
    }
    if status == "running":
        return execution | {"lock_expires_at": iso(now_ms() + 60_000), "progress": 12.5}
    if status == "waiting":
        return execution | {"waiting_since_ms": at_ms, "reason": {"code": "lock_held", "detail": HOSTILE}}
    execution |= {"finished_at_ms": at_ms + 1000, "error": HOSTILE}
    if status == "fail":
        execution["error"] = {"name": HOSTILE, "message": HOSTILE, HOSTILE[:80]: [HOSTILE]}
        execution["children"] = [CHILD]
    if identifier == CHILD:
        parent = {"execution_id": IDENTIFIERS["fail"], "status": HOSTILE}
        execution["parents"] = [{"job": NAME, **parent}]
    if status == "skipped":
        execution["reason"] = {"code": "lock_held", "detail": HOSTILE}
    return execution


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    stage = Stage()
    # The stage is more hostile than the API allows, so its answers are not checked.
    with patch.object(StageServer, "_check"), served(stage) as server:
        fill(stage)
        with visiting(server) as visitor:
            yield visitor


# Each process has execution_ids of its own, so the names of the tests leave them out.
@pytest.mark.parametrize("page", PAGES, ids=[re.sub(rf"{GUID}-\w+-", "", page) for page in PAGES])
def test_a_page_shows_hostile_texts_as_texts(visitor: Visitor, page: str) -> None:
    answer = visitor.get(page)

    assert answer.status < 500, text_of(answer.text)
    markup = Markup()
    markup.feed(answer.text)
    assert markup.wrong == []
    assert "49" not in answer.text.partition("{{ 7*7 }}")[0][-20:]
    for secret in (TOKEN, SECRET, "hunter2"):
        assert secret not in answer.text
    hidden = "\u202e\u2066\u200b\x00\x1b\x9b\u2028"
    # The form of a job holds the job as it is, so that saving it changes nothing.
    kept = "\u202e\u2066\u200b\u2028" if page.endswith("/edit") else ""
    assert [hex(ord(each)) for each in hidden if each in answer.text and each not in kept] == []


def test_a_chain_of_hostile_names_is_drawn(visitor: Visitor) -> None:
    page = visitor.get(f"{OF_A_JOB}/executions/{IDENTIFIERS['fail']}").text

    assert page.count('class="box fail here"') == 1
    assert page.count('class="box "') == 1
    assert ">&lt;script&gt;ale…" in page
    assert "{{ 7*7 }}[U+202E]gnp.exe[U+200B]" in page[page.index("chain-list") :]


def test_hostile_texts_are_there_to_be_read(visitor: Visitor) -> None:
    page = visitor.get(OF_A_JOB).text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "[U+202E]gnp.exe[U+2066][U+200B]␀␛[31m[U+009B][U+2028]" in page
    assert "https://api.example/callback/… whsec_… https://…@db.example/" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("naïve 日本語 🎉", "naïve 日本語 🎉"),
        ("\x7f", "\u2421"),
        ("\r", "\u240d"),
        (f"{GUID}-20261123T020000Z-ab12.{TOKEN}", f"{GUID}-20261123T020000Z-ab12.…"),
        (f"{GUID}-20261123T020000Z", f"{GUID}-20261123T020000Z"),
        ("https://api.example/callback/x%2Fy?z=1", "https://api.example/callback/…?z=1"),
        ("http://ann:pw@host/a ftp://b@c", "http://…@host/a ftp://…@c"),
        ("mail ann@example.org", "mail ann@example.org"),
    ],
)
def test_a_text_is_shown_without_secrets_and_with_signs(text: str, shown: str) -> None:
    assert texts.shown(text) == shown
