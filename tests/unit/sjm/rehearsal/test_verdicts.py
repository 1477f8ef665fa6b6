"""What each scene says about what was seen. Nothing is sent here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sjm.rehearsal.observed import Callback, Delivery, Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.scenes import ALONE, FIRST, NAMES, TOGETHER
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import ReportCard, Result, Verdict, failed, not_tried, passed

ROOT = Path(__file__).resolve().parents[4]
SCENES: dict[str, Scene] = {scene.name: scene for scene in (*FIRST, *ALONE, *TOGETHER)}
WAITS = Waits(10)
REJECTING = ("unsigned", "forged", "altered", "stale")


def answered(status: int | None = 202, at: float = 0, trouble: str = "", **others: Any) -> Delivery:
    return Delivery(at, others.pop("seconds", 0.01), status, trouble, **others)


def beat(at: float, status: int | None = 200, **others: Any) -> Callback:
    return called(at, status, {"status": "processing"}, **others)


def done(at: float, status: int | None = 200, **others: Any) -> Callback:
    return called(at, status, {"status": "success"}, **others)


def called(at: float, status: int | None, body: dict[str, Any], **others: Any) -> Callback:
    return Callback(
        at, others.pop("url", 0), others.pop("attempt", 1), body, status, answered_at=at, **others
    )


def judged(
    scene: str,
    deliveries: Sequence[Delivery],
    callbacks: Sequence[Callback] = (),
    until: float = 20,
    **others: Any,
) -> Verdict:
    return SCENES[scene].judge(Seen(deliveries, callbacks, until, **others), WAITS)


REFUSED = answered(None, trouble="it was not reached: Connection refused")
LOST = answered(None)


@pytest.mark.parametrize("scene", [name for name in NAMES if name not in REJECTING])
@pytest.mark.parametrize("delivery", [REFUSED, answered(400), answered(302), answered(500)])
def test_what_is_not_taken_fails(scene: str, delivery: Delivery) -> None:
    verdict = judged(scene, [delivery])

    assert verdict.state == "failed"
    assert verdict.fixes
    assert str(delivery.status or "not reached") in verdict.seen


@pytest.mark.parametrize(
    "scene",
    [name for name in NAMES if name not in (*REJECTING, "good", "heartbeats", "sync-answer", "test")],
)
def test_what_is_taken_and_never_called_back_fails(scene: str) -> None:
    verdict = judged(scene, [answered(), answered(at=1)])

    assert (verdict.state, "no callback" in verdict.seen) == ("failed", True)


@pytest.mark.parametrize("scene", REJECTING)
@pytest.mark.parametrize(
    ("delivery", "callbacks", "state"),
    [
        (answered(401), [], "passed"),
        (answered(400), [], "passed"),
        (answered(202), [], "failed"),
        (answered(302), [], "failed"),
        (answered(500), [], "failed"),
        (REFUSED, [], "failed"),
        (answered(401), [beat(1)], "failed"),
    ],
)
def test_what_nobody_may_trust_is_rejected(
    scene: str, delivery: Delivery, callbacks: list[Callback], state: str
) -> None:
    assert judged(scene, [delivery], callbacks).state == state


@pytest.mark.parametrize(
    ("callbacks", "until", "seen"),
    [
        ([done(1)], 20, None),
        ([beat(1), done(2)], 20, None),
        (
            [called(1, 400, {"status": "done"}, refusal="/status: expected …")],
            20,
            "a callback was refused with 400",
        ),
        (
            [called(1, 400, {"status": "success", "x": 1}, refusal="/x: …")],
            20,
            "a result was refused with 400: /x",
        ),
        (
            [called(1, 415, {}, refusal="expected Content-Type"), done(2)],
            20,
            "a callback was refused with 415",
        ),
        (
            [called(1, 200, {"status": "fail", "error": "no ledger"})],
            20,
            "the job called back fail: no ledger",
        ),
        ([done(1), done(2)], 20, "2 results of one attempt"),
        ([beat(1)], 20, "1 heartbeat, then silence for 10 s"),
        ([beat(at) for at in range(1, 40)], 40, "39 heartbeats, and no result within 40 s"),
    ],
)
def test_a_good_run_has_one_success(callbacks: list[Callback], until: float, seen: str | None) -> None:
    verdict = judged("good", [answered()], callbacks, until)

    assert (verdict.state == "passed") == (seen is None)
    assert (seen or "success after") in verdict.seen


@pytest.mark.parametrize(
    ("delivery", "seen"),
    [
        (answered(200), "answered 200"),
        (answered(200, body_error="state: expected a string"), "cannot be read: state: expected a string"),
        (answered(None, trouble="it did not answer within 10 seconds"), "did not answer"),
    ],
)
def test_the_answer_of_a_sync_job_is_its_result(delivery: Delivery, seen: str) -> None:
    verdict = judged("sync-answer", [delivery], is_async=False)

    assert (verdict.state, seen in verdict.seen) == ("passed" if seen == "answered 200" else "failed", True)


@pytest.mark.parametrize(
    ("seconds", "callbacks", "state"),
    [
        (0.01, [done(1)], "passed"),
        (0.3, [beat(0.2), done(1)], "passed"),  # a thread may be faster than the answer
        (4.2, [beat(0.2), done(5)], "failed"),
    ],
)
def test_a_slow_answer_is_one_that_waits_for_a_callback(
    seconds: float, callbacks: list[Callback], state: str
) -> None:
    assert judged("slow-answer", [answered(seconds=seconds)], callbacks).state == state


def test_a_webhook_that_is_not_answered_although_callbacks_come_is_a_slow_answer() -> None:
    late = answered(None, trouble="it did not answer within 10 seconds")
    verdict = judged("slow-answer", [late], [done(1)])

    assert verdict.fixes == ("Answer first, and work afterwards, in a thread, a task or a queue.",)


@pytest.mark.parametrize(
    ("again", "callbacks", "state"),
    [
        (answered(at=5), [done(1)], "passed"),
        (answered(409, at=5), [done(1)], "failed"),
        (answered(503, at=5), [done(1)], "failed"),
        (answered(at=5), [done(1), beat(6, 410)], "failed"),
        (answered(at=5), [done(1), done(6)], "failed"),
    ],
)
def test_a_duplicate_is_taken_and_does_nothing(
    again: Delivery, callbacks: list[Callback], state: str
) -> None:
    assert judged("duplicate", [answered(), again], callbacks).state == state


@pytest.mark.parametrize("scene", ["simultaneous", "lost-answer"])
@pytest.mark.parametrize(
    ("again", "callbacks", "state"),
    [
        (answered(), [beat(1, url=1), done(2, url=1)], "passed"),
        (answered(409), [done(1)], "failed"),
        (answered(), [beat(1), beat(1, url=1), done(2), beat(2, 410, url=1)], "failed"),
        (answered(), [done(1), done(2)], "failed"),
    ],
)
def test_who_works_once_uses_one_url(
    scene: str, again: Delivery, callbacks: list[Callback], state: str
) -> None:
    first = LOST if scene == "lost-answer" else answered()

    assert judged(scene, [first, again], callbacks).state == state


def test_who_is_busy_with_one_of_several_may_say_so() -> None:
    assert judged("simultaneous", [answered(), answered(503)], [done(1)]).state == "passed"
    assert judged("lost-answer", [LOST, answered(503)], [done(1)]).state == "failed"


@pytest.mark.parametrize(
    ("again", "callbacks", "seen"),
    [
        (answered(at=5), [done(1), done(6, attempt=2, url=1)], "it worked"),
        (answered(409, at=5), [done(1)], "answered 409"),
        (answered(at=5), [done(1)], "attempt 2: answered 202 after 10 ms, and no callback came"),
        (answered(at=5), [done(1), done(6, 410)], "came to the callback_url of attempt 1"),
    ],
)
def test_a_second_attempt_is_work(again: Delivery, callbacks: list[Callback], seen: str) -> None:
    verdict = judged("second-attempt", [answered(), again], callbacks)

    assert seen in verdict.seen
    assert (verdict.state == "passed") == (seen == "it worked")


@pytest.mark.parametrize(
    ("callbacks", "state"),
    [
        ([done(1)], "not tried"),
        ([beat(1.5), done(2.9)], "not tried"),
        ([beat(1.5), beat(3), done(4)], "passed"),
        ([done(3.1)], "failed"),
        ([beat(1.5), done(4.6)], "failed"),
        ([], "failed"),
        ([beat(1.5)], "failed"),
        ([*(beat(at) for at in range(1, 20))], "failed"),
        ([beat(1.5), beat(3), done(4), beat(4.01, 410)], "passed"),  # it was on its way
        ([beat(1.5), beat(3), done(4), beat(5, 410), beat(6.5, 410)], "failed"),
    ],
)
def test_heartbeats_come_within_their_interval(callbacks: list[Callback], state: str) -> None:
    assert judged("heartbeats", [answered()], callbacks, 20).state == state


@pytest.mark.parametrize(
    ("callbacks", "state"),
    [
        ([beat(1, 410)], "passed"),
        ([done(1, 410)], "passed"),
        ([beat(1, 410), beat(1.01, 410)], "passed"),  # two threads
        ([beat(1, 410), beat(1.5, 410), beat(2, 410)], "failed"),
        ([beat(1, 410), done(2, 410)], "failed"),
        ([done(1, 410), done(2, 410)], "failed"),
    ],
)
def test_410_ends_all_callbacks(callbacks: list[Callback], state: str) -> None:
    assert judged("stop", [answered()], callbacks).state == state


@pytest.mark.parametrize(
    ("again", "callbacks", "seen"),
    [
        (answered(at=1), [done(2, url=1), beat(3, 410)], "it worked, and the other one got 410"),
        (answered(at=1), [done(2, url=1)], "it worked"),
        (answered(409, at=1), [beat(2, 410)], "answered 409"),
        (answered(at=1), [beat(2, 410)], "the new execution: answered 202 after 10 ms, and no callback came"),
        (answered(at=1), [beat(2, url=1)], "the new execution: 1 heartbeat, then silence"),
    ],
)
def test_an_execution_that_replaces_another_is_work(
    again: Delivery, callbacks: list[Callback], seen: str
) -> None:
    verdict = judged("replaced", [answered(), again], callbacks)

    assert seen in verdict.seen
    assert (verdict.state == "passed") == seen.startswith("it worked")


@pytest.mark.parametrize(
    ("scene", "callbacks", "seen"),
    [
        ("throttled", [done(1, 429), done(2.1)], "429, and came again after 1.1 s"),
        ("throttled", [done(1, 429), done(1.98)], "429, and came again after 980 ms"),  # a timer
        ("throttled", [done(1, 429), done(1.5)], "came again after 500 ms, and Retry-After was 1"),
        ("throttled", [done(1, 429)], "got 429, and was not sent again for 10 s"),
        (
            "server-error",
            [done(1, 500), done(2, 500), done(4)],
            "500 2 times, and came again after 1.0 s, 2.0 s",
        ),
        ("server-error", [done(1, 500), done(2, 500)], "got 500 2 times, and was not sent again"),
        ("unreachable", [beat(1, None), done(2, None), done(6)], "no answer, and came again after 4.0 s"),
        ("unreachable", [beat(1, None), done(2, None)], "no answer, and was not sent again"),
        ("unreachable", [beat(1, None)], "1 heartbeat, then silence"),
    ],
)
def test_a_result_is_repeated_until_it_is_answered(scene: str, callbacks: list[Callback], seen: str) -> None:
    verdict = judged(scene, [answered()], callbacks)

    assert seen in verdict.seen
    assert (verdict.state == "passed") == callbacks[-1].is_accepted == (
        not verdict.fixes
    ) or "Retry-After" in seen


@pytest.mark.parametrize(
    ("delivery", "is_async", "state"),
    [(answered(422), False, "passed"), (answered(422), True, "failed"), (answered(500), False, "failed")],
)
def test_a_sync_job_may_fail_with_an_odd_payload(delivery: Delivery, is_async: bool, state: str) -> None:
    assert judged("odd-payload", [delivery], is_async=is_async).state == state


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("scene", ["good", "unknown-fields", "odd-payload", "second-attempt"])
def test_a_receiver_that_is_busy_has_another_fix(scene: str, status: int) -> None:
    deliveries = [answered(), answered(status, at=1)] if scene == "second-attempt" else [answered(status)]
    callbacks = [done(1)] if scene == "second-attempt" else []

    assert "is busy" in judged(scene, deliveries, callbacks).fixes[0]


def test_a_job_that_the_receiver_does_not_know_is_named() -> None:
    assert "--job" in judged("good", [answered(404)]).fixes[0]


def test_the_fix_of_a_scene_comes_first() -> None:
    verdict = judged("rotated", [answered(401)])

    assert verdict.fixes == (
        "Split `webhook-signature` at spaces, and accept the webhook if any signature is yours.",
    )


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_the_link_of_a_scene_leads_to_a_section(scene: Scene) -> None:
    page, _, anchor = scene.link.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)

    assert anchor in [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]


def test_names_are_unique_and_the_waits_are_in_proportion() -> None:
    assert len(set(NAMES)) == len(NAMES)
    twice = Waits(20)
    assert [twice.gone_seconds, twice.hold_seconds, twice.longest_seconds, twice.quiet_seconds(None)] == [
        2 * WAITS.gone_seconds,
        2 * WAITS.hold_seconds,
        2 * WAITS.longest_seconds,
        2 * WAITS.quiet_seconds(None),
    ]
    assert (
        WAITS.quiet_seconds(0.1)
        < WAITS.quiet_seconds(1)
        < WAITS.quiet_seconds(60)
        == WAITS.quiet_seconds(None)
    )


def test_a_report_card_says_what_failed_and_what_to_do() -> None:
    results = [
        Result("good", "…", "docs/a.md", passed("fine")),
        Result("stale", "…", "docs/b.md", failed("it worked", "Look at the clock.")),
        Result("rotated", "…", "docs/c.md", not_tried("no secret", "Pass it.")),
    ]
    card = ReportCard("http://x", results)

    assert card.summary == "1 passed, 1 failed, 1 not tried"
    assert card["stale"] is results[1]
    with pytest.raises(KeyError):
        card["other"]
    with pytest.raises(
        AssertionError, match=r"(?s)1 failed.*it worked.*Look at the clock.*docs/b\.md"
    ) as raised:
        card.assert_passed()
    assert "no secret" not in str(raised.value)
    with pytest.raises(AssertionError, match="it worked"):
        card["stale"].assert_passed()
    card["rotated"].assert_passed()
    ReportCard("http://x", results[::2]).assert_passed()
