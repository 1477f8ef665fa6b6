from bench.latency import page_of, plot_of, rows_of, types_of

FOUND = {"standard": [0.1 * number for number in range(1, 11)], "express": [0.05] * 10}


def test_the_percentiles_of_each_type_are_in_milliseconds() -> None:
    standard, express = rows_of(FOUND)
    assert standard == {"type": "standard", "rounds": 10, "p50 ms": 500, "p90 ms": 900, "p99 ms": 1000}
    assert (express["p50 ms"], express["p99 ms"]) == (50, 50)
    assert "| standard |" in page_of(FOUND)


def test_a_stage_without_express_is_measured_too() -> None:
    assert types_of({"state_machine_arn": "a"}) == ("standard",)
    assert types_of({"state_machine_arn": "a", "express_state_machine_arn": "b"}) == ("standard", "express")


def test_the_plot_has_a_line_for_each_type() -> None:
    image = plot_of(FOUND).render().decode()
    assert all(each in image for each in FOUND)
