"""The parser of bodies: standard JSON, and nothing that two readers could read differently."""

import pytest

from jobmanager.core.strict_json import parse


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]', r'{"a": 1, "\u0061": 2}'])
def test_a_duplicate_key_in_an_object_is_named(text: str) -> None:
    with pytest.raises(ValueError, match='the key "a" stands more than once'):
        parse(text)


def test_the_same_key_in_two_objects_is_fine() -> None:
    assert parse('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]


def test_a_long_or_broken_key_is_named_shortened_and_encodable() -> None:
    key = "\\ud800" + "k" * 1000
    with pytest.raises(ValueError, match="stands more than once") as refusal:
        parse(f'{{"{key}": 1, "{key}": 2}}')
    assert len(str(refusal.value).encode()) < 300


def test_a_byte_order_mark_at_the_beginning_is_left_out() -> None:
    assert parse('\ufeff{"a": "\ufeff"}') == {"a": "\ufeff"}
    with pytest.raises(ValueError, match="line 1, column 1"):
        parse("\ufeff\ufeff{}")
