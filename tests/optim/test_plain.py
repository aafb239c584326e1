import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.optim.plain import decode, encode

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
keys = st.text(max_size=3) | st.integers() | st.just("__tuple__")
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(st.integers(), st.integers(1, 5), max_size=3).map(Counter)
    ),
    max_leaves=8,
)


@given(values)
def test_a_round_through_json_gives_the_same_value_and_types(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert repr(back) == repr(value)


def test_nan_stays_a_float() -> None:
    assert math.isnan(encode([math.nan])[0])


@pytest.mark.parametrize("value", [{1, 2}, object(), torch.zeros(1), [torch.zeros(())], b"x", {"a": max}])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a "):
        encode(value)
