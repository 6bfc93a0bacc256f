"""Tensors of the Open Inference Protocol, taken apart into rows, and put together of rows."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from rpcb_trio._gateway._faces._datatypes import (
    BYTES,
    DATATYPES,
    SIZES,
    elements,
    is_of,
    kind_of,
    packed,
    takes,
    unpacked,
)
from rpcb_trio._gateway._items import MOST_ITEMS
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Tensor

MOST_DIMENSIONS = 8

Shape = tuple[int, ...]


class Sent(msgspec.Struct, frozen=True):
    """A tensor as it is sent: in JSON, or with its size, for the bytes that follow the JSON."""

    name: str
    shape: Shape
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}

    @property
    def size(self) -> int | None:
        """Bytes that follow the JSON; None for data in JSON."""
        found = self.parameters.get("binary_data_size")
        return found if isinstance(found, int) and not isinstance(found, bool) else None


class Rows:
    """A tensor that can be read row by row.

    Args:
        sent: the tensor.
        declared: what it is to be.
        content: its bytes, where its data is no JSON.

    Raises:
        Problem: 400, it is something else.
    """

    def __init__(self, sent: Sent, declared: Tensor, content: memoryview | None) -> None:
        self._sent = sent
        self._declared = declared
        self.count, *row = _checked_shape(sent, declared)
        self.shape: Shape = tuple(row)
        self._width = math.prod(row)
        if self._width > MOST_ITEMS:
            raise wrong(sent.name, f"a row has {self._width} values; send at most {MOST_ITEMS}")
        _check_datatype(sent, declared)
        self._content = content
        self._values: list[Any] = []
        if content is None:
            self._values = _flattened(sent)
        elif sent.datatype == BYTES:
            self._values = _elements(sent, content)
        elif len(content) != self.count * self._width * SIZES[sent.datatype]:
            raise wrong(
                sent.name, f"{len(content)} bytes are not {list(sent.shape)} values of {sent.datatype}"
            )

    def row(self, index: int) -> Any:
        """The value of a row: a scalar, or nested lists."""
        start, end = index * self._width, (index + 1) * self._width
        datatype = self._sent.datatype
        if self._content is not None and datatype != BYTES:
            size = SIZES[datatype]
            values: Sequence[Any] = unpacked(datatype, self._content[start * size : end * size])
        else:
            values = self._values[start:end]
        if datatype == BYTES:
            values = [self._element(each) for each in values]
        is_scalar = not self.shape or (_is_scalar(self._declared) and self.shape == (1,))
        return values[0] if is_scalar else nested(values, self.shape)

    def _element(self, value: str | bytes) -> str | bytes:
        """As the service takes it: text, or bytes."""
        if not self._declared.text:
            return value.encode() if isinstance(value, str) else value
        try:
            return value if isinstance(value, str) else value.decode()
        except UnicodeDecodeError:
            raise wrong(self._sent.name, "it is to be text, and its bytes are no UTF-8") from None


def wrong(name: str, why: str) -> Problem:
    """400: a tensor is wrong."""
    return Problem(HTTPStatus.BAD_REQUEST, "tensor", f"{name[:100]}: {why}", field=name[:100])


def nested(values: Sequence[Any], shape: Shape) -> list[Any]:
    """Lists within lists, of a shape that has as many values."""
    rows: Sequence[Any] = values
    for width in reversed(shape[1:]):
        rows = [rows[start : start + width] for start in range(0, len(rows), width)]
    return list(rows)


def measured(value: Any) -> tuple[Shape, list[Any]]:
    """The shape of nested lists, and all that is in them.

    Raises:
        ValueError: they are ragged, or too deep.
    """
    shape: list[int] = []
    rows = [value]
    while rows and isinstance(rows[0], list | tuple):
        width = len(rows[0])
        if not all(isinstance(each, list | tuple) and len(each) == width for each in rows):
            raise ValueError("its lists have several lengths")
        shape.append(width)
        rows = [each for row in rows for each in row]
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"it has more than {MOST_DIMENSIONS} dimensions")
    if any(isinstance(each, list | tuple) for each in rows):
        raise ValueError("its lists have several lengths")
    return tuple(shape), rows


class Joined(msgspec.Struct, frozen=True):
    """A tensor made of the values of all rows."""

    name: str
    datatype: str
    shape: Shape
    values: list[Any]

    def written(self, *, is_binary: bool) -> tuple[dict[str, Any], bytes]:
        """What the JSON says of it, and the bytes that follow the JSON.

        Raises:
            Problem: 502, its values are none of its datatype.
        """
        said: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        try:
            if not is_binary:
                texts = [each.decode() if isinstance(each, bytes) else each for each in self.values]
                return said | {"data": texts}, b""
            content = packed(self.datatype, self.values)
        except UnicodeDecodeError:
            raise bad_reply(self.name, "its bytes are no text; ask for binary data") from None
        except (struct.error, OverflowError) as error:
            raise bad_reply(self.name, f"it is no {self.datatype}: {error}") from error
        return said | {"parameters": {"binary_data_size": len(content)}}, content


def joined(name: str, rows: Sequence[Any], declared: Tensor | None) -> Joined:
    """The tensor of an output.

    Args:
        name: its name.
        rows: the value of each row.
        declared: what it is to be; None where nothing says so.

    Raises:
        Problem: 502, its rows differ in their shapes, or it is something else.
    """
    try:
        measures = [measured(each) for each in rows]
    except ValueError as error:
        raise bad_reply(name, str(error)) from error
    shapes = {shape for shape, _ in measures}
    if len(shapes) > 1:
        raise bad_reply(name, "its rows have several shapes")
    [shape] = shapes
    values = [value for _, row in measures for value in row]
    datatype = _kind_of_all(name, values) if declared is None or declared.is_any else declared.datatype
    if declared is not None and not declared.fits(shape):
        raise bad_reply(name, f"its rows have the shape {list(shape)}, not {list(declared.shape)}")
    if not all(is_of(datatype, each) for each in values):
        raise bad_reply(name, f"it has values that are no {datatype}")
    return Joined(name, datatype, (len(rows), *shape), values)


def bad_reply(name: str, why: str) -> Problem:
    """502: the service answers with what is no tensor."""
    return Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", f"the output {name}: {why}")


def _kind_of_all(name: str, values: Sequence[Any]) -> str:
    kinds = {kind_of(each) for each in values} or {"FP64"}
    if kinds == {"INT64", "FP64"}:
        return "FP64"
    kind = kinds.pop()
    if kinds or kind is None:
        raise bad_reply(name, "its values are of several kinds, or of one that tensors have not")
    return kind


def _checked_shape(sent: Sent, declared: Tensor) -> Shape:
    shape = sent.shape
    if not shape or len(shape) > MOST_DIMENSIONS or any(each < 1 for each in shape):
        why = f"give it one to {MOST_DIMENSIONS} dimensions, each of at least 1"
        raise wrong(sent.name, f"its shape is {list(shape)[:MOST_DIMENSIONS]}; {why}")
    is_column = _is_scalar(declared) and shape[1:] == (1,)
    if not declared.fits(shape[1:]) and not is_column:
        wanted = [-1, *declared.shape]
        why = f"its shape is {list(shape)}; send {wanted}, whose first dimension counts the rows"
        raise wrong(sent.name, why)
    return shape


def _is_scalar(declared: Tensor) -> bool:
    """Whether a row is one value; a dimension of 1 makes no difference then."""
    return not declared.is_any and declared.shape == ()


def _check_datatype(sent: Sent, declared: Tensor) -> None:
    if sent.datatype not in DATATYPES:
        why = f"there is no datatype {sent.datatype[:20]!r} here; there is {', '.join(DATATYPES)}"
        raise wrong(sent.name, why)
    if not declared.is_any and not takes(declared.datatype, sent.datatype):
        raise wrong(sent.name, f"its datatype is {sent.datatype}; send {declared.datatype}")


def _flattened(sent: Sent) -> list[Any]:
    if sent.data is None:
        raise wrong(sent.name, "it has no data")
    try:
        shape, values = measured(sent.data)
    except ValueError as error:
        raise wrong(sent.name, str(error)) from None
    if len(values) != math.prod(sent.shape) or (len(shape) > 1 and shape != sent.shape):
        raise wrong(sent.name, f"its data has the shape {list(shape)}, and not {list(sent.shape)}")
    if not all(is_of(sent.datatype, each) for each in values):
        raise wrong(sent.name, f"its data has values that are no {sent.datatype}")
    return values


def _elements(sent: Sent, content: memoryview) -> list[bytes]:
    count = math.prod(sent.shape)
    if count > MOST_ITEMS:
        raise wrong(sent.name, f"it has {count} elements; send at most {MOST_ITEMS}")
    try:
        found = list(elements(content))
    except ValueError as error:
        raise wrong(sent.name, str(error)) from None
    if len(found) != count:
        raise wrong(sent.name, f"{len(found)} elements are not {list(sent.shape)}")
    return found
