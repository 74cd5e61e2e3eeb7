import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.parsing import parse_json
from api.problems import Problem

NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4),
    max_leaves=12,
)


def refused(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_json(body)
    return caught.value


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_is_not_finite_is_named_by_its_place(number: str) -> None:
    problem = refused(f'{{"robots": [{{"id": "NaN"}}, {{"x/y": {number}}}]}}'.encode())
    assert (problem.status, problem.code) == (422, "NON_FINITE")
    assert [f.pointer for f in problem.faults] == ["/robots/1/x~1y"]


def test_several_numbers_that_are_not_finite_are_all_named() -> None:
    assert [f.pointer for f in refused(b'[NaN, 1, {"a": 1e999}, "NaN", -Infinity]').faults] == ["/0", "/2/a", "/4"]


def test_more_numbers_that_are_not_finite_than_are_looked_for_are_refused_all_the_same() -> None:
    assert refused(b"[" + b",".join([b"NaN"] * 1000) + b"]").status == 422


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"{", b"{]", b"\xff\xfe", b"nul", b"[1,]", b"'a'", b'{"a": NaN, ', b'{"a" NaN}', b"[" * 100_000, b'"\\ud800"']
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert refused(body).status == 400


@given(VALUES)
def test_any_json_is_read_as_it_was_written(value) -> None:
    assert parse_json(json.dumps(value).encode()) == value
