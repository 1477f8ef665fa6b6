from tests.life.plan import plan


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
    kinds = {action.what for action in planned.actions}
    assert {"tick twice at once", "put twice at once", "stop the machine", "delete the rule"} <= kinds
    assert len(kinds) == 21
