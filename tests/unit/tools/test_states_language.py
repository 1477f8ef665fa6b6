"""Checks copies of the project's state machine, each with one fault that Step Functions would reject."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tools.check_state_machines import PROJECT, rendered
from tools.states_language import problems

States = dict[str, Any]
Fault = Callable[[States], Any]

MACHINE = rendered((PROJECT / "statemachine.asl.json").read_text())


def begin(**changes: Any) -> Fault:
    return lambda states: states["SettleExecution"].update(changes)


def retry(**changes: Any) -> Fault:
    return lambda states: states["SettleExecution"]["Retry"][0].update(changes)


def catch(**changes: Any) -> Fault:
    return lambda states: states["SettleExecution"]["Catch"][0].update(changes)


def choice(**changes: Any) -> Fault:
    return lambda states: states["HowDidItEnd"]["Choices"][0].update(changes)


FAULTS: dict[str, tuple[Fault, str]] = {
    "leads nowhere": (begin(Next="Nowhere"), 'No state found named "Nowhere"'),
    "catches nowhere": (catch(Next="Nowhere"), 'No state found named "Nowhere"'),
    "chooses nowhere": (choice(Next="Nowhere"), 'No state found named "Nowhere"'),
    "has an unreachable state": (
        lambda states: states.update(Lost={"Type": "Succeed"}),
        "No transition found to state",
    ),
    "lacks a next state": (lambda states: states["SettleExecution"].pop("Next"), 'required field "Next"'),
    "has both a next state and an end": (begin(End=True), 'forbidden field "Next"'),
    "continues after a fail": (
        lambda states: states["ExecutionFailed"].update(Next="SettleExecution"),
        "Next",
    ),
    "has a state of an unknown type": (
        lambda states: states["ExecutionSucceeded"].update(Type="Success"),
        '"Success", not one',
    ),
    "misspells a field": (begin(TimeoutSecond=3), '"TimeoutSecond" not allowed'),
    "misspells a field of a retry": (retry(MaxAttemps=3), '"MaxAttemps" not allowed'),
    "misspells a field of a catch": (catch(Otput="x"), '"Otput" not allowed'),
    "retries no error": (retry(ErrorEquals=[]), "ErrorEquals is empty"),
    "catches all and another": (catch(ErrorEquals=["States.ALL", "Other"]), "States.ALL can only appear"),
    "retries faster each time": (retry(BackoffRate=0.5), "BackoffRate is 0.5"),
    "retries without a pause": (retry(IntervalSeconds=0), "IntervalSeconds is 0"),
    "retries with an unknown jitter": (retry(JitterStrategy="HALF"), '"HALF", not one of'),
    "times out after 0 seconds": (begin(TimeoutSeconds=0), "TimeoutSeconds is 0"),
    "has a timeout as text": (begin(TimeoutSeconds="30"), 'TimeoutSeconds is "30"'),
    "waits for two times": (
        lambda states: states["WaitForNextAttempt"].update(Seconds=3),
        "may have only one of",
    ),
    "uses JSONPath": (begin(Parameters={"a.$": "$.b"}), '"Parameters" not allowed'),
    "chooses by JSONPath": (choice(Variable="$.a", StringEquals="x"), '"Variable" not allowed'),
    "never ends": (
        lambda states: (
            states.pop("ExecutionSucceeded"),
            states["HowDidItEnd"]["Choices"].pop(0),
            states.update(ExecutionFailed={"Type": "Pass", "Next": "SettleExecution"}),
            states["RunJob"].pop("End"),
            states["RunJob"].update(Next="HowDidItEnd"),
        ),
        "No terminal state",
    ),
    "has a resource that is not an arn": (begin(Resource="lambda:invoke"), "its Resource is not an ARN"),
    "has a state with too long a name": (
        lambda states: [
            states.update({"L" * 81: {"Type": "Succeed"}}),
            states["HowDidItEnd"].update(Default="L" * 81),
        ],
        "the name has more than 80 characters",
    ),
    "has an open bracket": (begin(Output="{% $merge([$states.input %}"), "is not valid JSONata"),
    "has an open bracket deep inside": (begin(Arguments={"a": [{"b": "{% (1 %}"}]}), "is not valid JSONata"),
    "has an open bracket in a condition": (choice(Condition="{% 1 in [ %}"), "is not valid JSONata"),
    "has an open expression": (begin(Output="{% $states.input"), "must begin with {% and end with %}"),
    "calls an unknown function": (begin(Output="{% $mergee([1]) %}"), "there is no $mergee"),
    "calls a function that aws leaves out": (begin(Output="{% $eval('1') %}"), "there is no $eval"),
    "reads an unknown variable": (
        begin(Output="{% $count %}", Assign={"a": "{% $cuont %}"}),
        "there is no $cuont",
    ),
    "reads an unknown field of $states": (
        begin(Output="{% $states.imput %}"),
        "there is no $states.imput here",
    ),
    "reads a result before the task ends": (
        begin(Arguments={"a": "{% $states.result %}"}),
        "there is no $states.result here",
    ),
    "reads an error outside a catch": (
        begin(Output="{% $states.errorOutput %}"),
        "no $states.errorOutput here",
    ),
}


def machine_with(fault: Fault) -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(MACHINE)
    fault(machine["States"])
    return machine


def test_a_correct_machine_has_no_problems() -> None:
    assert problems(json.loads(MACHINE)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_machine_is_refused_that(name: str) -> None:
    fault, said = FAULTS[name]

    assert any(said in problem for problem in problems(machine_with(fault)))


@pytest.mark.parametrize(
    "valid",
    [
        begin(Output="{% ($sum := function($a, $b){ $a + $b }; $reduce([1, 2], $sum)) %}"),
        begin(Assign={"when": "{% $now() %}", "id": "{% $uuid() %}"}, Output="{% $states.result.a[0] %}"),
        begin(Output={"a": ["{% $parse($states.context.Execution.Input) %}"], "b": "no expression: 100 %"}),
        retry(BackoffRate=1.5),
    ],
)
def test_a_valid_change_is_no_problem(valid: Fault) -> None:
    assert problems(machine_with(valid)) == []


def test_a_variable_that_another_state_assigns_is_known() -> None:
    machine = machine_with(begin(Assign={"started": "{% $now() %}"}))
    machine["States"]["RunJob"]["Output"] = "{% $started %}"

    assert problems(machine) == []
