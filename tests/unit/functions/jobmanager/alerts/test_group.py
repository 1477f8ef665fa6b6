"""The state machine of a group: one opening, one update for each window, one message that it is over."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.alerts import group as groups
from jobmanager.alerts.group import (
    EMPTY,
    MAX_DETAILED,
    MAX_PROBLEMS,
    MAX_RETRIES,
    MAX_ROWS,
    Group,
    Message,
    Pace,
    claimed,
    delivered,
    is_claimable,
    next_message,
    noted,
    planned,
    undelivered,
)
from jobmanager.alerts.signals import Signal, signal_in
from tests.unit.functions.examples import NOON_MS
from tests.unit.functions.jobmanager.alerts.published import FAILED, alarm, event, failure

PACE = Pace(window_seconds=900, longest_window_seconds=3600, quiet_seconds=300)
SECOND, MINUTE = 1_000, 60_000
NAME = "service billing"


def signal(body: str) -> Signal:
    found = signal_in(body, FAILED, "service", None)
    assert found
    return found


class Told:
    """A group whose messages are delivered at once, and what was told."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.group: Group = EMPTY
        self.pace = pace
        self.messages: list[Message] = []

    def note(self, body: str, at_ms: int) -> None:
        self.wait(at_ms)
        self.group = noted(self.group, signal(body), at_ms)
        self.wait(at_ms)

    def wait(self, until_ms: int) -> None:
        """Lets the time pass: what is due is told when it is due."""
        while (due := next_message(self.group, self.pace)) and due[1] <= until_ms:
            at_ms = due[1] or until_ms
            self.group = planned(self.group, NAME, self.pace, at_ms)
            self.messages.append(self.group["outbox"])
            self.group = delivered(self.group, self.group["outbox"], at_ms)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """The kinds of the messages, and how many minutes after noon they were told."""
        return [(each["kind"], (each["at_ms"] - NOON_MS) // MINUTE) for each in self.messages]


def test_the_first_problem_is_told_at_once_and_its_end_after_a_while_of_quiet() -> None:
    told = Told()
    told.note(failure(), NOON_MS)
    told.note(event("execution.succeeded", at_ms=NOON_MS + 10 * MINUTE), NOON_MS + 10 * MINUTE)
    told.wait(NOON_MS + 1_000 * MINUTE)

    assert told.kinds == [("opened", 0), ("over", 15)]
    assert told.group == {**EMPTY, "told_at_ms": told.group["told_at_ms"], "ended": told.group["ended"]}


def test_a_hundred_failures_of_a_night_are_one_more_message() -> None:
    told = Told()
    for number in range(100):
        at_ms = NOON_MS + number * 5 * SECOND
        told.note(failure(f"job-{number}", at_ms), at_ms)
    told.wait(NOON_MS + 8 * 60 * MINUTE)

    assert told.kinds == [("opened", 0), ("update", 15)]
    update = told.messages[1]
    assert (update["news"], update["failing"], len(update["rows"])) == (99, 100, MAX_ROWS)


def test_a_job_that_fails_all_night_is_told_once() -> None:
    told = Told()
    for number in range(500):
        at_ms = NOON_MS + number * MINUTE
        told.note(failure(at_ms=at_ms), at_ms)

    assert told.kinds == [("opened", 0)]
    assert told.group["problems"]["billing/nightly"]["count"] == 500


def test_the_newest_failure_of_a_job_is_the_one_that_is_explained() -> None:
    group = noted(EMPTY, signal(event("execution.failed")), NOON_MS)
    group = noted(group, signal(event("execution.failed", at_ms=NOON_MS + 2, error="New")), NOON_MS)
    group = noted(group, signal(event("execution.failed", at_ms=NOON_MS + 1, error="Old")), NOON_MS)

    problem = group["problems"]["billing/nightly"]
    assert (problem["facts"].get("why"), problem["count"]) == ("New", 3)


def test_the_window_doubles_up_to_the_longest() -> None:
    told = Told()
    for number in range(4 * 60):
        at_ms = NOON_MS + number * 2 * MINUTE
        told.note(failure(f"job-{number}", at_ms), at_ms)

    minutes = [minute for _, minute in told.kinds]
    assert minutes == [0, 15, 45, 105, 165, 225, 285, 345, 405, 465]


def test_a_job_that_fails_and_succeeds_in_turns_keeps_the_group_open() -> None:
    told = Told()
    for number in range(60):
        at_ms = NOON_MS + number * 2 * MINUTE
        told.note(failure(at_ms=at_ms), at_ms)
        told.note(event("execution.succeeded", at_ms=at_ms + MINUTE), at_ms + MINUTE)
    told.wait(NOON_MS + 1_000 * MINUTE)

    assert told.kinds == [("opened", 0), ("over", 119 + 5)]


def test_a_group_is_over_only_when_each_of_its_problems_is() -> None:
    told = Told()
    told.note(failure("a"), NOON_MS)
    told.note(failure("b", NOON_MS + 1), NOON_MS + 1)
    told.note(event("execution.succeeded", "a", NOON_MS + 2), NOON_MS + 2)
    told.wait(NOON_MS + 100 * MINUTE)
    assert told.kinds == [("opened", 0), ("update", 15)]

    told.note(event("job.deleted", "b", NOON_MS + 100 * MINUTE), NOON_MS + 100 * MINUTE)
    told.wait(NOON_MS + 200 * MINUTE)
    over = told.messages[-1]
    assert [(row["subject"], row.get("how")) for row in over["rows"]] == [
        ("billing/a", "succeeded"),
        ("billing/b", "was deleted"),
    ]


def test_what_failed_and_succeeded_within_a_window_is_told_when_it_is_over() -> None:
    told = Told()
    told.note(failure("a"), NOON_MS)
    told.note(failure("b", NOON_MS + 1), NOON_MS + 1)
    for job in ("a", "b"):
        told.note(event("execution.succeeded", job, NOON_MS + 2), NOON_MS + 2)
    told.wait(NOON_MS + 100 * MINUTE)

    assert told.kinds == [("opened", 0), ("over", 5)]
    assert [row["subject"] for row in told.messages[1]["rows"]] == ["billing/a", "billing/b"]


def test_a_failure_that_comes_with_its_success_is_told_too() -> None:
    group = noted(
        noted(EMPTY, signal(failure()), NOON_MS),
        signal(event("execution.succeeded", at_ms=NOON_MS + 1)),
        NOON_MS,
    )
    group = planned(group, NAME, PACE, NOON_MS)

    assert group["outbox"]["kind"] == "opened"
    assert group["outbox"]["rows"][0].get("how") == "succeeded"


def test_an_end_that_is_older_than_the_failure_ends_nothing() -> None:
    group = noted(EMPTY, signal(failure(at_ms=NOON_MS)), NOON_MS)

    for at_ms in (NOON_MS - 1, NOON_MS):
        assert noted(group, signal(event("execution.succeeded", at_ms=at_ms)), NOON_MS) is group


@pytest.mark.parametrize("rare", [event("job.recovered"), alarm("OK")])
def test_a_rare_end_that_overtakes_its_problem_still_ends_it(rare: str) -> None:
    problem = failure(at_ms=NOON_MS - 1) if "event" in json.loads(rare) else alarm("ALARM", NOON_MS - 1)
    group = noted(EMPTY, signal(rare), NOON_MS)

    assert group["ended"]
    assert noted(group, signal(problem), NOON_MS) is group


def test_a_success_without_a_problem_changes_nothing() -> None:
    assert noted(EMPTY, signal(event("execution.succeeded")), NOON_MS) is EMPTY


def test_a_duplicate_changes_nothing_even_when_the_group_is_over() -> None:
    told = Told()
    told.note(failure(), NOON_MS)
    assert noted(told.group, signal(failure()), NOON_MS + 1) is told.group
    told.note(event("execution.succeeded", at_ms=NOON_MS + 1), NOON_MS + 1)
    told.wait(NOON_MS + 100 * MINUTE)

    assert noted(told.group, signal(failure()), NOON_MS + 14 * 24 * 60 * MINUTE) is told.group


def test_a_failure_after_the_end_opens_the_group_anew() -> None:
    told = Told()
    told.note(failure(), NOON_MS)
    told.note(event("execution.succeeded", at_ms=NOON_MS + 1), NOON_MS + 1)
    told.note(failure(at_ms=NOON_MS + 60 * MINUTE), NOON_MS + 60 * MINUTE)

    assert told.kinds == [("opened", 0), ("over", 5), ("opened", 60)]
    assert len({message["alert_id"] for message in told.messages}) == 2


def test_a_planned_message_stays_as_it_is_and_nothing_else_is_planned() -> None:
    group = planned(noted(EMPTY, signal(failure("a")), NOON_MS), NAME, PACE, NOON_MS)
    opened = group["outbox"]
    later = NOON_MS + 500 * MINUTE
    group = noted(group, signal(failure("b", later)), later)

    assert next_message(group, PACE) is None
    assert planned(group, NAME, PACE, later) is group
    assert group["outbox"] == opened


def test_a_failure_while_the_end_waits_is_told_after_it() -> None:
    told = Told()
    told.note(failure(), NOON_MS)
    told.note(event("execution.succeeded", at_ms=NOON_MS + 1), NOON_MS + 1)
    at_ms = NOON_MS + 10 * MINUTE
    group = planned(told.group, NAME, PACE, at_ms)
    over = group["outbox"]
    assert over["kind"] == "over"
    group = noted(group, signal(failure(at_ms=at_ms)), at_ms)
    group = planned(delivered(group, over, at_ms), NAME, PACE, at_ms)

    assert group["outbox"]["kind"] == "opened"
    assert group["outbox"]["alert_id"] != over["alert_id"]


def test_a_message_is_claimed_by_one_until_the_claim_expires() -> None:
    group = planned(noted(EMPTY, signal(failure()), NOON_MS), NAME, PACE, NOON_MS)
    assert is_claimable(group, NOON_MS)
    group = claimed(group, NOON_MS)

    assert not is_claimable(group, NOON_MS + groups.CLAIM_MS - 1)
    assert is_claimable(group, NOON_MS + groups.CLAIM_MS)


def test_retries_pause_longer_and_longer_and_keep_to_what_the_destination_asks() -> None:
    group = planned(noted(EMPTY, signal(failure()), NOON_MS), NAME, PACE, NOON_MS)
    message = group["outbox"]
    pauses = []
    for _ in range(MAX_RETRIES):
        group = undelivered(group, message, NOON_MS, 0)
        pauses.append((group["retry_at_ms"] - NOON_MS) // SECOND)

    assert pauses[:7] == [15, 30, 60, 120, 240, 480, 600]
    assert 3.5 * 3600 < sum(pauses) < 5 * 3600
    given_up = undelivered(group, message, NOON_MS, 0)
    assert (given_up["retries"], given_up["outbox"]) == (0, message)
    asked = undelivered({**group, "retries": 0}, message, NOON_MS, 77)
    assert asked["retry_at_ms"] == NOON_MS + 77 * SECOND
    assert (
        undelivered({**group, "retries": 0}, message, NOON_MS, 1e9)["retry_at_ms"] == NOON_MS + 3_600 * SECOND
    )


def test_what_is_noted_as_delivered_twice_changes_nothing() -> None:
    group = planned(noted(EMPTY, signal(failure()), NOON_MS), NAME, PACE, NOON_MS)
    message = group["outbox"]
    done = delivered(group, message, NOON_MS)

    assert "outbox" not in done
    assert delivered(done, message, NOON_MS) is done
    assert undelivered(done, message, NOON_MS, 0) is done


def test_the_largest_group_fits_into_an_item() -> None:
    group: Group = EMPTY
    for number in range(MAX_PROBLEMS + 50):
        name = f"{number:04}".ljust(64, "x")
        body = failure(name, NOON_MS, service="s" * 64, error="𝄞" * 256, cause="𝄞" * 999, owner="𝄞" * 256)
        for more in range(4):
            group = noted(
                group, signal(json.dumps({**json.loads(body), "execution_id": f"{more}" * 77})), NOON_MS
            )
        group = {**group, "ended": {f"s/{number}-{n}".ljust(129, "x"): NOON_MS for n in range(MAX_PROBLEMS)}}
    group = planned(group, NAME, PACE, NOON_MS)

    assert len(group["problems"]) == MAX_PROBLEMS
    assert group["outbox"]["untracked"] == 4 * 50
    assert sum("why" in problem["facts"] for problem in group["problems"].values()) == MAX_DETAILED
    assert len(json.dumps(group, ensure_ascii=False).encode()) < 400 * 1000


JOBS = ("a", "b", "c")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fail", "succeed", "repeat", "delete", "recover", "tick", "deliver", "miss"]),
        st.sampled_from(JOBS),
        st.integers(0, 30 * MINUTE),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_whatever_happens_messages_leave_in_order_and_each_problem_is_told(
    steps: Sequence[tuple[str, str, int]], random: Any
) -> None:
    group: Group = EMPTY
    bodies: list[str] = []
    sent: list[Message] = []
    failed: set[str] = set()
    now = NOON_MS

    def deliver() -> None:
        nonlocal group
        if "outbox" in group:
            sent.append(group["outbox"])
            group = delivered(group, group["outbox"], now)

    for what, job, pause in steps:
        now += pause
        if what in ("fail", "succeed", "delete", "recover"):
            name = {
                "fail": "execution.failed",
                "succeed": "execution.succeeded",
                "delete": "job.deleted",
                "recover": "job.recovered",
            }[what]
            bodies.append(event(name, job, now))
            before = group
            group = noted(group, signal(bodies[-1]), now)
            if what == "fail" and group is not before:
                failed.add(f"billing/{job}")
        elif what == "repeat" and bodies:
            before = group
            group = noted(group, signal(random.choice(bodies)), now)
        elif what == "deliver":
            deliver()
        elif what == "miss" and "outbox" in group:
            group = undelivered(group, group["outbox"], now, 0)
        group = planned(group, NAME, PACE, now)
    # In the end all jobs succeed, and the destination takes everything.
    for _ in range(2):
        now += 100 * MINUTE
        for job in JOBS:
            group = noted(group, signal(event("execution.succeeded", job, now)), now)
        for _ in range(3):
            now += 100 * MINUTE
            deliver()
            group = planned(group, NAME, PACE, now)
    deliver()

    assert "outbox" not in group
    assert not group["problems"]
    check_order(sent)
    shown = {row["subject"] for message in sent for row in message["rows"]}
    assert shown >= failed


def check_order(sent: Sequence[Message]) -> None:
    """Each alert opens once, is over once, and only then may the next one open."""
    open_id, number = None, 0
    closed: set[str] = set()
    for message in sent:
        if message["kind"] == "opened":
            assert open_id is None
            assert message["alert_id"] not in closed
            open_id, number = message["alert_id"], 1
        else:
            number += 1
        assert (message["alert_id"], message["number"]) == (open_id, number)
        if message["kind"] == "over":
            closed.add(message["alert_id"])
            open_id = None
    assert open_id is None
