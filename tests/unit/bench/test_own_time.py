from pathlib import Path

from bench.own_time import OF_THE_VERSION_BEFORE, by_function, page_of, rows_of
from local.segments import Invocation, Segment


def segment(name: str, start: float, end: float, namespace: str = "local") -> Segment:
    return Segment(f"{name}{start}", None, "1-t", name, namespace, start, end)


def invocation(start: float, end: float, *calls: Segment) -> Invocation:
    return Invocation("sjm-get-job", segment("sjm-get-job", start, end), (), calls)


def test_a_functions_first_invocation_is_left_out_unless_it_is_the_only_one() -> None:
    first, second = invocation(0, 1), invocation(2, 2.5)
    keys = {"sjm-get-job": "get_job"}
    assert by_function([first, second], keys) == {"get_job": [second]}
    assert by_function([first], keys) == {"get_job": [first]}


def test_rows_are_in_milliseconds_and_begin_with_the_longest() -> None:
    reads = segment("dynamodb", 1.001, 1.009, "aws")
    rows = rows_of({"get_job": [invocation(1, 1.01, reads)], "list_jobs": [invocation(2, 2.03)]})
    assert [row["function"] for row in rows] == ["list_jobs", "get_job"]
    assert rows[1] == {
        "function": "get_job",
        "invocations": 1,
        "own p50 ms": 2.0,
        "own p95 ms": 2.0,
        "in all p50 ms": 10.0,
        "calls p50": 1,
    }
    assert "| list_jobs " in page_of(rows)


def test_only_functions_that_no_state_machine_names_need_no_invocation() -> None:
    root = Path(__file__).resolve().parents[3]
    machines = "".join(file.read_text() for file in root.glob("*.asl.json"))
    for function in OF_THE_VERSION_BEFORE:
        assert (root / "functions" / function / "handler.py").is_file()
        assert f"${{{function}_arn}}" not in machines
