import pytest

from tests.life.model import NO_JOB, LimitTimeline, State, Timeline, is_shown_as, put

A = {"schedule": "a", "enabled": True, "retry": {"on": ["fail"]}}
B = {"schedule": "b", "enabled": True}


def asked(timeline: Timeline, sent_ms: int, answered_ms: int, body: dict[str, object]) -> None:
    timeline.changes(sent_ms, put(body))
    timeline.answered(answered_ms, True)


def test_between_a_request_and_its_answer_both_states_of_a_job_are_possible() -> None:
    timeline = Timeline()
    asked(timeline, 100, 200, A)
    asked(timeline, 300, 400, B)
    a, b = put(A)(NO_JOB), put(B)(NO_JOB)
    assert timeline.possible(50, 60) == {NO_JOB}
    assert timeline.possible(150, 160) == {NO_JOB, a}
    assert timeline.possible(250, 260) == {a}
    assert timeline.possible(250, 350) == {a, b}
    assert timeline.possible(401, 500) == {b}


def test_either_of_two_concurrent_requests_may_win_until_the_job_is_read() -> None:
    timeline = Timeline()
    timeline.changes(100, put(A), put(B))
    timeline.answered(200, True)
    assert timeline.now == {put(A)(NO_JOB), put(B)(NO_JOB)}
    assert timeline.seen(300, lambda state: is_shown_as(state, 200, A | {"version": 2}, 300, 310))
    assert timeline.now == {put(A)(NO_JOB)}
    assert not timeline.seen(400, lambda state: is_shown_as(state, 404, {}, 400, 410))


def test_a_pause_is_shown_until_it_ends() -> None:
    state = put(A)(NO_JOB).paused(5000)
    for sent_ms, answered_ms, shown in (
        (4000, 4999, {True}),
        (4999, 5000, {True, False}),
        (5000, 6000, {False}),
    ):
        bodies = {True: A | {"paused": {}}, False: A}
        may_be = {
            is_so for is_so, body in bodies.items() if is_shown_as(state, 200, body, sent_ms, answered_ms)
        }
        assert may_be == shown


def test_an_inconclusive_answer_leaves_both_states_possible() -> None:
    timeline = Timeline()
    timeline.changes(100, put(A))
    timeline.answered(200, None)
    assert timeline.now == {NO_JOB, put(A)(NO_JOB)}


def test_a_put_keeps_the_pause_of_a_job_but_not_of_a_deleted_one() -> None:
    paused = put(A)(NO_JOB).paused(None)
    assert put(B)(paused).paused_until_ms is not None
    assert put(B)(State(None, paused.paused_until_ms)).paused_until_ms is None


def test_a_job_paused_until_a_time_is_due_but_does_not_run() -> None:
    state = put(A)(NO_JOB).paused(5000)
    assert (state.is_due_on("a"), state.runs_on("a", 4999), state.runs_on("a", 5000)) == (True, False, True)
    assert not put(A)(NO_JOB).paused(None).is_due_on("a")
    assert not put(A | {"enabled": False})(NO_JOB).is_due_on("a")


@pytest.mark.parametrize(
    ("fields", "overlap"),
    [
        ({}, "allow"),
        ({"exclusive": False}, "allow"),
        ({"exclusive": True}, "skip"),
        ({"overlap": "queue_one"}, "queue_one"),
    ],
)
def test_the_overlap_of_a_job_follows_from_its_older_name_too(
    fields: dict[str, object], overlap: str
) -> None:
    assert put(A | fields)(NO_JOB).overlap == overlap


def test_a_job_is_stopped_while_it_is_missing_disabled_or_paused() -> None:
    job = put({"enabled": True})(NO_JOB)
    assert not job.is_stopped_at(5000)
    assert (job.paused(5001).is_stopped_at(5000), job.paused(5000).is_stopped_at(5000)) == (True, False)
    assert NO_JOB.is_stopped_at(5000)
    assert put({"enabled": False})(NO_JOB).is_stopped_at(5000)


def test_a_limit_may_have_either_definition_until_the_answer() -> None:
    timeline, one, two = LimitTimeline(), {"slots": 1}, {"slots": 2}
    timeline.changes(100, one)
    timeline.answered(200, True)
    timeline.changes(300, two)
    timeline.answered(400, None)
    assert timeline.possible(0, 50) == []
    assert timeline.possible(210, 290) == [one]
    assert timeline.possible(310, 320) == timeline.possible(500, 600) == [one, two]
    timeline.changes(700, two)
    timeline.answered(800, True)
    assert timeline.possible(900, 900) == [two]
