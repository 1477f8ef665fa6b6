from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobmanager.aws import items
from tests.stand_ins import values

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda number: round(number, 3))
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_a_set_of_texts_is_converted_as_the_functions_convert_it() -> None:
    item = items.to_item({"holders": {"a"}})
    assert values.to_item({"holders": {"a"}}) == item
    assert values.from_item(item) == items.from_item(item) == {"holders": {"a"}}


@given(st.dictionaries(st.text(min_size=1, max_size=4), PLAIN, max_size=4))
def test_values_are_converted_as_the_functions_convert_them(plain: dict[str, Any]) -> None:
    item = items.to_item(plain)
    assert values.to_item(plain) == item
    assert values.from_item(item) == items.from_item(item)
