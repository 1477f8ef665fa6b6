import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.life import plan as module
from tests.life.conduct import all_answers
from tests.life.model import NO_JOB, put
from tests.life.plan import Plan, plan


def test_the_same_seed_plans_the_same_actions() -> None:
    assert plan(7, 600, 0.8) == plan(7, 600, 0.8)
    assert plan(7, 600, 0.8).digest == plan(7, 600, 0.8).digest


def test_another_seed_plans_other_actions() -> None:
    assert plan(7, 600, 0.8).digest != plan(8, 600, 0.8).digest


def test_ten_minutes_contain_every_kind_of_action_sorted_by_time() -> None:
    planned = plan(7, 600, 0.8)
    times = [action.at for action in planned.actions]
    assert times == sorted(times)
    assert times[-1] < 600
    assert {action.what for action in planned.actions} == set(module._WEIGHTS)


def answers_in(planned: Plan) -> Iterator[str]:
    """Every answer that a webhook may get in a life."""
    for action in planned.actions:
        for body in (action.more, *(each for each in action.more.values() if isinstance(each, dict))):
            for conduct in json.loads(body.get("payload", "{}")).get("conducts", []):
                yield from (*conduct["answers"], *conduct["sync"])


def test_the_45_seconds_of_make_test_meet_each_kind_of_action_and_of_answer_with_fair_probability() -> None:
    """test_life takes another seed each time."""
    lives = [plan(seed, 45, 1.0) for seed in range(60)]
    met = Counter(what for life in lives for what in {action.what for action in life.actions})
    assert set(met) == set(module._WEIGHTS)
    rare = {what: number for what, number in met.items() if number < 0.25 * len(lives)}
    assert not rare
    planned = Counter(answer for life in lives for answer in set(answers_in(life)))
    assert set(planned) == all_answers()
    rare = {answer: number for answer, number in planned.items() if number < 0.5 * len(lives)}
    assert not rare


def bodies_in(planned: Plan) -> Iterator[dict[str, Any]]:
    """Every body with which a job is put in a life."""
    for action in planned.actions:
        for body in (action.more, *action.more.values()):
            if isinstance(body, dict) and "ttl_seconds" in body:
                yield body


def test_the_45_seconds_of_make_test_have_jobs_of_each_overlap_with_and_without_a_limit() -> None:
    lives = [plan(seed, 45, 1.0) for seed in range(60)]
    planned = Counter(
        what
        for life in lives
        for what in {
            (put(body)(NO_JOB).overlap, body["workflow_type"], "limit" in body) for body in bodies_in(life)
        }
    )
    assert {overlap for overlap, _, _ in planned} == set(module._OVERLAPS)
    assert len(planned) == 5 * 2 * 2
    assert min(planned.values()) > 0.4 * len(lives)
    assert all(
        life.limits and all(each.keys() & {"slots", "per_second"} for each in life.limits) for life in lives
    )


def test_jobs_run_after_one_or_two_others_that_are_put_before_them() -> None:
    for seed in range(60):
        planned = plan(seed, 45, 1.0)
        assert {len(parents) for parents in planned.chains.values()} == {1, 2}
        assert all(parent < number for number, parents in planned.chains.items() for parent in parents)
        first = {action.job: action for action in reversed(planned.actions) if action.what == "put"}
        assert all(
            first[parent].at <= first[number].at
            for number, parents in planned.chains.items()
            for parent in parents
        )
