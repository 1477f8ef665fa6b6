import re

import pytest

from tests.unit.terraform.blocks import Block, blocks

VARIABLES = blocks("variable")


def each_variable(*types: str) -> pytest.MarkDecorator:
    chosen = [v for v in VARIABLES if not types or v.argument("type") in types]
    return pytest.mark.parametrize("variable", chosen, ids=lambda v: v.name)


@each_variable()
def test_a_variable_has_a_type(variable: Block) -> None:
    assert variable.argument("type")


@each_variable()
def test_a_variable_is_described_in_sentences(variable: Block) -> None:
    description = variable.argument("description") or ""

    assert re.fullmatch(r'"[A-Z].*\."', description)


@each_variable("string", "number")
def test_a_string_or_number_is_validated_with_an_error_message(variable: Block) -> None:
    validations = variable.inner("validation")

    assert validations
    for validation in validations:
        assert re.search(r'error_message = "(The|Each) .*\."', validation)


@pytest.mark.parametrize("output", blocks("output"), ids=lambda o: o.name)
def test_an_output_is_described(output: Block) -> None:
    assert re.fullmatch(r'"[A-Z].*\."', output.argument("description") or "")
