"""Canonical JSON against an independent implementation of RFC 8785."""

import json
import math

import pytest
import rfc8785
from hypothesis import given, strategies as st

from saint import records

# I-JSON: integers beyond 2^53 do not survive other readers, so neither implementation takes them.
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
trees = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(trees)
def test_it_spells_as_the_standard_says(tree: object) -> None:
    assert records.to_canonical(tree).encode() == rfc8785.dumps(tree)  # type: ignore[arg-type]


@given(trees)
def test_reading_it_back_and_writing_it_again_changes_nothing(tree: object) -> None:
    written = records.to_canonical(tree)
    assert records.to_canonical(json.loads(written)) == written


@given(st.dictionaries(texts, numbers, min_size=2))
def test_the_order_of_keys_does_not_matter(table: dict[str, float]) -> None:
    assert records.digest(table) == records.digest(dict(reversed(table.items())))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"nan|inf"):
        records.to_canonical({"loss": value})
