import json
from collections import Counter
from collections.abc import Iterator

from tests.life import plan as module
from tests.life.conduct import all_answers
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
