"""Tensors in JSON and in binary: taken apart into rows, and put together again, nothing is lost."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_trio._gateway._faces._datatypes import DATATYPES, SIZES, packed, takes
from rpcb_trio._gateway._faces._tensors import Rows, Sent, joined
from rpcb_trio._gateway._routes import Tensor
from rpcb_trio.gateway import Problem

WIDTHS = {"FP16": 16, "FP32": 32, "FP64": 64}


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return st.text(max_size=4)
    if datatype in WIDTHS:
        return st.floats(width=WIDTHS[datatype], allow_nan=False)  # type: ignore[arg-type] # it is one of them
    bits = 8 * SIZES[datatype]
    return (
        st.integers(0, 2**bits - 1)
        if datatype.startswith("U")
        else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
TENSORS = st.tuples(st.sampled_from(DATATYPES), SHAPES).flatmap(
    lambda pair: st.tuples(
        st.just(pair[0]),
        st.just(pair[1]),
        st.lists(values_of(pair[0]), min_size=math.prod(pair[1]), max_size=math.prod(pair[1])),
    )
)


@settings(max_examples=50)
@given(tensor=TENSORS, is_declared=st.booleans(), is_binary=st.booleans())
def test_rows_that_are_joined_again_are_the_tensor_that_was_sent(
    tensor: tuple[str, tuple[int, ...], list[Any]], *, is_declared: bool, is_binary: bool
) -> None:
    datatype, shape, values = tensor
    declared = Tensor(datatype=datatype, shape=tuple(-1 for _ in shape[1:])) if is_declared else Tensor()
    content = memoryview(packed(datatype, values)) if is_binary else None
    sent = Sent(name="x", shape=shape, datatype=datatype, data=None if is_binary else values)
    rows = Rows(sent, declared, content)
    again = joined(
        "x", [rows.row(index) for index in range(rows.count)], Tensor(datatype=datatype, shape=shape[1:])
    )
    assert again.shape == shape
    said, following = again.written(is_binary=is_binary)
    assert following == bytes(content or b"")
    assert is_binary or said["data"] == values


@settings(max_examples=50)
@given(
    shape=st.lists(st.integers(-1, 3) | st.just(10**30), max_size=4).map(tuple),
    datatype=st.sampled_from([*DATATYPES, "BF16"]),
    data=st.none()
    | st.recursive(st.none() | st.integers() | st.text(max_size=2), lambda each: st.lists(each, max_size=3)),
    content=st.none() | st.binary(max_size=24),
)
def test_what_is_no_tensor_is_refused_and_nothing_worse(
    shape: tuple[int, ...], datatype: str, data: Any, content: bytes | None
) -> None:
    sent = Sent(name="x", shape=shape, datatype=datatype, data=data if isinstance(data, list) else None)
    with suppress(Problem):
        rows = Rows(sent, Tensor(), None if content is None else memoryview(content))
        for index in range(rows.count):
            rows.row(index)


@given(st.sampled_from(DATATYPES), st.sampled_from(DATATYPES))
def test_a_narrower_datatype_of_the_same_kind_is_taken_and_no_other(declared: str, sent: str) -> None:
    kinds = [each.rstrip("0123456789") for each in (declared, sent)]
    if not takes(declared, sent):
        assert declared != sent
    elif declared != sent:
        assert SIZES[sent] < SIZES[declared]
        assert kinds[0] == kinds[1] or kinds == ["INT", "UINT"]
