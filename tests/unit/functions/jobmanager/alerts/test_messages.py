"""What people read at each kind of destination, and the limits of each."""

import json
from typing import Any, cast

import pytest

from jobmanager.alerts import pagerduty, slack, teams, webhook
from jobmanager.alerts.group import EMPTY, Group, Message, Pace, delivered, noted, planned
from jobmanager.alerts.signals import signal_in
from jobmanager.alerts.words import left_out, row_words, title
from tests.unit.functions.examples import NOON_MS
from tests.unit.functions.jobmanager.alerts.published import FAILED, alarm, event, failure

PACE = Pace(window_seconds=900, longest_window_seconds=3600, quiet_seconds=300)
MINUTE = 60_000
LINK = "http://127.0.0.1:8765/jobs/{service_name}/{job_name}"
PREFIX = "sjm-prod"


def after(*bodies: str, group: Group = EMPTY, now_ms: int = NOON_MS, link: str | None = LINK) -> Group:
    """The group after these messages, with what is planned at ``now_ms``."""
    name = ""
    for body in bodies:
        signal = signal_in(body, [*FAILED, "job.failing"], "service", link)
        assert signal
        name = signal.group
        group = noted(group, signal, now_ms)
    return planned(group, name or "service billing", PACE, now_ms)


def told(group: Group, at_ms: int = NOON_MS) -> Group:
    return delivered(group, group["outbox"], at_ms)


def opened(*bodies: str) -> Message:
    return after(*bodies)["outbox"]


ONE = opened(failure(last_succeeded_at_ms=NOON_MS - 86_400_000))


def three_more() -> Group:
    """A group that was told of one problem, and then of three more."""
    group = told(after(failure("nightly")))
    others = [
        failure(f"other-{n}", NOON_MS + n * 1_000, error="Timeout", summary=None, owner=None)
        for n in range(3)
    ]
    return after(*others, group=group, now_ms=NOON_MS + 15 * MINUTE)


def over_of(group: Group) -> Message:
    at_ms = NOON_MS + 30 * MINUTE
    ends = [event("execution.succeeded", subject.split("/")[1], at_ms) for subject in group["problems"]]
    ended = after(*ends, group=told(group, at_ms), now_ms=at_ms)
    return after(group=ended, now_ms=at_ms + 5 * MINUTE)["outbox"]


def text_of(message: Message) -> str:
    """The message as plain text."""
    is_over = message["kind"] == "over"
    lines = [title(message, PREFIX)]
    for row in message["rows"]:
        words = row_words(row, is_over)
        lines += [
            f"{words.subject} {words.what}",
            f"  {words.when}",
            *([f"  {words.why}"] if words.why else []),
        ]
    return "\n".join([*lines, *filter(None, [left_out(message, len(message["rows"]))])])


def test_one_failure_in_words() -> None:
    assert (
        text_of(ONE)
        == """\
[sjm-prod] billing/nightly failed
billing/nightly failed
  Since 2026-11-23 12:00 UTC. Last success: 2026-11-22 12:00 UTC. Owner: team-billing.
  LedgerClosed: the ledger of November is closed"""
    )


def test_an_update_in_words() -> None:
    assert (
        text_of(three_more()["outbox"])
        == """\
[sjm-prod] 3 more problems in billing, 4 now
billing/other-0 failed
  Since 2026-11-23 12:00 UTC.
  Timeout
billing/other-1 failed
  Since 2026-11-23 12:00 UTC.
  Timeout
billing/other-2 failed
  Since 2026-11-23 12:00 UTC.
  Timeout"""
    )


def test_an_end_in_words() -> None:
    assert (
        text_of(over_of(after(failure("nightly"))))
        == """\
[sjm-prod] Over: billing/nightly succeeded
billing/nightly succeeded
  Failed at 2026-11-23 12:00 UTC, over at 2026-11-23 12:30 UTC.
  LedgerClosed: the ledger of November is closed"""
    )


def test_the_end_of_several_in_words() -> None:
    lines = text_of(over_of(three_more())).splitlines()
    assert lines[0] == "[sjm-prod] Over: 4 problems in billing"
    assert lines[1:4] == [
        "billing/nightly succeeded",
        "  Failed at 2026-11-23 12:00 UTC, over at 2026-11-23 12:30 UTC.",
        "  LedgerClosed: the ledger of November is closed",
    ]


def test_many_problems_in_words() -> None:
    message = opened(*(failure(f"job-{n:02}") for n in range(25)))
    lines = text_of(message).splitlines()
    assert lines[0] == "[sjm-prod] 25 problems in billing"
    assert lines[-1] == "And 15 more problems."


def test_more_problems_than_a_group_follows_in_words() -> None:
    lines = text_of(opened(*(failure(f"job-{n:03}") for n in range(302)))).splitlines()
    assert lines[-1] == "And 290 more problems; 2 failures of further jobs, which are not followed."


def test_repeated_failures_and_alarms_in_words() -> None:
    group = told(after(failure("a")))
    group = after(*(failure("a", NOON_MS + n * MINUTE) for n in range(1, 9)), group=group)
    group = after(
        event("job.failing", "b", consecutive_failures=3, error="E"),
        group=group,
        now_ms=NOON_MS + 15 * MINUTE,
    )
    assert "billing/b failed 3 times in a row" in text_of(group["outbox"])
    assert "Failed at 2026-11-23 12:00 UTC, 9 times, over at" in text_of(over_of(group))
    assert (
        text_of(opened(alarm("ALARM")))
        == """\
[sjm-prod] sjm-prod-late-ticks is in alarm
sjm-prod-late-ticks is in alarm
  Since 2026-11-23 12:00 UTC.
  Ticks wait before start_due_executions handles them."""
    )


def test_a_problem_that_ended_before_it_was_told_says_so() -> None:
    message = opened(failure(), event("execution.succeeded", at_ms=NOON_MS + 1))
    assert title(message, PREFIX) == "[sjm-prod] billing/nightly failed, then succeeded"


def test_slack() -> None:
    assert slack.body(ONE, PREFIX) == {
        "text": "[sjm-prod] billing/nightly failed",
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": "[sjm-prod] billing/nightly failed", "emoji": False},
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "*<http://127.0.0.1:8765/jobs/billing/nightly|billing/nightly>* failed\n"
                    "Since 2026-11-23 12:00 UTC. Last success: 2026-11-22 12:00 UTC. Owner: team-billing.\n"
                    "LedgerClosed: the ledger of November is closed",
                    "verbatim": True,
                },
            },
        ],
    }


def test_teams() -> None:
    body = teams.body(ONE, PREFIX)
    (attachment,) = body["attachments"]
    assert body["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["body"] == [
        {
            "type": "Container",
            "style": "attention",
            "bleed": True,
            "items": [
                {
                    "type": "RichTextBlock",
                    "inlines": [
                        {
                            "type": "TextRun",
                            "text": "[sjm-prod] billing/nightly failed",
                            "weight": "Bolder",
                            "size": "Medium",
                        }
                    ],
                }
            ],
        },
        {
            "type": "Container",
            "separator": True,
            "items": [
                {
                    "type": "RichTextBlock",
                    "inlines": [
                        {
                            "type": "TextRun",
                            "text": "billing/nightly",
                            "weight": "Bolder",
                            "selectAction": {
                                "type": "Action.OpenUrl",
                                "url": "http://127.0.0.1:8765/jobs/billing/nightly",
                            },
                        },
                        {"type": "TextRun", "text": " failed"},
                    ],
                },
                {
                    "type": "RichTextBlock",
                    "inlines": [
                        {
                            "type": "TextRun",
                            "text": "Since 2026-11-23 12:00 UTC. Last success: 2026-11-22 12:00 UTC."
                            " Owner: team-billing.",
                            "isSubtle": True,
                        }
                    ],
                },
                {
                    "type": "RichTextBlock",
                    "inlines": [
                        {
                            "type": "TextRun",
                            "text": "LedgerClosed: the ledger of November is closed",
                            "fontType": "Monospace",
                        }
                    ],
                },
            ],
        },
    ]
    assert (
        teams.body(over_of(after(failure())), PREFIX)["attachments"][0]["content"]["body"][0]["style"]
        == "good"
    )


def test_pagerduty() -> None:
    assert pagerduty.body(ONE, PREFIX, "key", "error") == {
        "routing_key": "key",
        "dedup_key": ONE["alert_id"],
        "event_action": "trigger",
        "client": "Serverless Job Manager",
        "links": [{"href": "http://127.0.0.1:8765/jobs/billing/nightly", "text": "billing/nightly"}],
        "payload": {
            "summary": "[sjm-prod] billing/nightly failed: LedgerClosed: the ledger of November is closed",
            "severity": "error",
            "source": "sjm-prod",
            "component": "billing",
            "group": "service billing",
            "custom_details": {
                "billing/nightly failed": "Since 2026-11-23 12:00 UTC. Last success: 2026-11-22 12:00 UTC."
                " Owner: team-billing. LedgerClosed: the ledger of November is closed"
            },
        },
    }


def test_pagerduty_gets_one_key_from_the_trigger_to_the_resolution() -> None:
    group = after(failure())
    first = group["outbox"]
    group = after(failure("b", NOON_MS + 1), group=told(group), now_ms=NOON_MS + 15 * MINUTE)
    bodies = [pagerduty.body(m, PREFIX, "key", "error") for m in (first, group["outbox"], over_of(group))]

    assert [body["event_action"] for body in bodies] == ["trigger", "trigger", "resolve"]
    assert len({body["dedup_key"] for body in bodies}) == 1
    assert bodies[2].keys() == {"routing_key", "dedup_key", "event_action"}


def test_any_webhook() -> None:
    assert webhook.body(ONE, PREFIX) == {
        "type": "alert.opened",
        "timestamp": "2026-11-23T12:00:00Z",
        "data": {
            "alert_id": ONE["alert_id"],
            "number": 1,
            "stage": "sjm-prod",
            "group": "billing",
            "title": "[sjm-prod] billing/nightly failed",
            "since": "2026-11-23T12:00:00Z",
            "problems": 1,
            "failing": 1,
            "failures": 1,
            "not_shown": 0,
            "not_followed": 0,
            "rows": [
                {
                    "subject": "billing/nightly",
                    "what": "failed",
                    "why": "LedgerClosed: the ledger of November is closed",
                    "since": "2026-11-23T12:00:00Z",
                    "last": "2026-11-23T12:00:00Z",
                    "failures": 1,
                    "last_success": "2026-11-22T12:00:00Z",
                    "owner": "team-billing",
                    "link": "http://127.0.0.1:8765/jobs/billing/nightly",
                }
            ],
        },
    }
    over = over_of(after(failure()))
    row = webhook.body(over, PREFIX)["data"]["rows"][0]
    assert (row["over"], row["how"]) == ("2026-11-23T12:30:00Z", "succeeded")
    assert [webhook.webhook_id(m) for m in (ONE, over)] == [f"{ONE['alert_id']}-1", f"{over['alert_id']}-2"]


HOSTILE = (
    "<!channel> & <@U123> [click](https://evil.example) *bold* `code` <https://evil.example|here> \u202e\x07"
)


def test_slack_shows_what_services_wrote_as_text() -> None:
    body = slack.body(opened(failure(error=HOSTILE, owner=HOSTILE)), PREFIX)
    texts = json.dumps(body).replace("<http://127.0.0.1:8765/jobs/billing/nightly|billing/nightly>", "")

    assert "<" not in texts
    assert "&lt;!channel&gt; &amp; &lt;@U123&gt;" in texts


def test_teams_shows_what_services_wrote_without_markdown() -> None:
    card = teams.body(opened(failure(error=HOSTILE, owner=HOSTILE)), PREFIX)["attachments"][0]["content"]
    kinds = set()

    def look(part: Any) -> None:
        if isinstance(part, dict):
            kinds.add(part.get("type"))
            if part.get("type") != "Action.OpenUrl":
                assert "url" not in part
            for inner in part.values():
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    look(card)
    # A TextBlock or a FactSet would read Markdown.
    assert kinds - {None} == {"AdaptiveCard", "Container", "RichTextBlock", "TextRun", "Action.OpenUrl"}


def largest(character: str) -> Message:
    """A message with the largest texts that a service can write."""
    link = "https://console.example/" + "p" * 150 + "/{service_name}/{job_name}/{execution_id}"
    bodies = [
        failure(
            f"{n:02}".ljust(64, "j"),
            NOON_MS + n,
            service_name="s" * 64,
            error=character * 256,
            cause=character * 1024,
            owner=character * 256,
            execution_id="e" * 77 + str(n),
            last_succeeded_at_ms=NOON_MS,
        )
        for n in range(302)
    ]
    return after(*bodies, link=link)["outbox"]


@pytest.mark.parametrize("character", ["x", "&", "<", "ü", "𝄞", '"', "\\"])
def test_the_largest_message_keeps_to_the_limits_of_each_destination(character: str) -> None:
    message = largest(character)
    body = slack.body(message, PREFIX)
    sections = [block["text"]["text"] for block in body["blocks"]]
    assert len(body["blocks"]) <= 50
    assert len(sections[0]) <= slack.MAX_HEADER_CHARACTERS
    assert all(0 < len(text) <= slack.MAX_SECTION_CHARACTERS for text in sections)
    assert sum(map(len, sections)) <= slack.MAX_CHARACTERS
    assert not any(text.replace("…", "").endswith(("&", "&l", "&lt", "&am")) for text in sections)

    def size(body: dict[str, Any]) -> int:
        return len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    card = teams.body(message, PREFIX)
    assert size(card) <= teams.MAX_BYTES
    assert len(card["attachments"][0]["content"]["body"]) > 7
    event_ = pagerduty.body(message, PREFIX, "k" * 32, "error")
    assert size(event_) <= pagerduty.MAX_BYTES
    assert len(event_["payload"]["summary"]) <= pagerduty.MAX_SUMMARY_CHARACTERS
    assert len(cast(str, event_["dedup_key"])) <= 255
    assert size(webhook.body(message, PREFIX)) < 64 * 1024


def test_an_escape_is_never_cut_in_two() -> None:
    for most in range(1, 30):
        text = slack.escaped("a&b<c>d&", most)
        assert len(text) <= most
        assert "&" not in text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


def test_a_row_that_does_not_fit_into_a_message_of_teams_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    message = opened(*(failure(f"job-{n}", NOON_MS + n) for n in range(3)))
    whole = len(json.dumps(teams.body(message, PREFIX), ensure_ascii=False).encode())
    monkeypatch.setattr(teams, "MAX_BYTES", whole - 1)
    elements = teams.body(message, PREFIX)["attachments"][0]["content"]["body"]

    assert len(elements) == 1 + 2 + 1
    assert elements[-1]["inlines"][0]["text"] == "And 1 more problem."
