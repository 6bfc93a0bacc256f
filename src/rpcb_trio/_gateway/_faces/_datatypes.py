"""The Open Inference Protocol's datatypes, and their values as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

FORMATS: Mapping[str, str] = {
    "BOOL": "?",
    **dict(zip(("INT8", "INT16", "INT32", "INT64"), "bhiq", strict=True)),
    **dict(zip(("UINT8", "UINT16", "UINT32", "UINT64"), "BHIQ", strict=True)),
    **dict(zip(("FP16", "FP32", "FP64"), "efd", strict=True)),
}
"""Of the module struct, by datatype; `BYTES` has lengths of its own."""

BYTES = "BYTES"
DATATYPES = (*FORMATS, BYTES)

LENGTH = struct.Struct("<I")
"""Stands before each element of a `BYTES` tensor in binary."""

SIZES = {datatype: struct.calcsize(f"<{code}") for datatype, code in FORMATS.items()}
"""Bytes of one value."""


def takes(declared: str, sent: str) -> bool:
    """Whether each value of the datatype that was sent is one of the declared datatype, too."""
    if declared == sent or declared not in SIZES or sent not in SIZES:
        return declared == sent
    wide, narrow = declared.rstrip("0123456789"), sent.rstrip("0123456789")
    if (wide, narrow) == ("INT", "UINT"):
        return SIZES[sent] < SIZES[declared]
    return wide == narrow and SIZES[sent] <= SIZES[declared]


def kind_of(value: object) -> str | None:
    """The datatype that holds what JSON and MessagePack have; None where there is none."""
    if isinstance(value, bool):
        return "BOOL"
    if isinstance(value, int):
        return "INT64"
    if isinstance(value, float):
        return "FP64"
    return BYTES if isinstance(value, str | bytes) else None


def is_of(datatype: str, value: object) -> bool:
    """Whether a value is one of the datatype; whole numbers are floating-point numbers as well."""
    kind = kind_of(value)
    if datatype in ("BOOL", BYTES):
        return kind == datatype
    if datatype.startswith("FP"):
        return kind in ("FP64", "INT64")
    if not isinstance(value, int) or kind != "INT64":
        return False
    bits = 8 * SIZES[datatype]
    least = 0 if datatype.startswith("U") else -(1 << (bits - 1))
    return least <= value < least + (1 << bits)


def unpacked(datatype: str, content: bytes | memoryview) -> Sequence[object]:
    """The values in bytes, lowest byte first, of any datatype but `BYTES`."""
    return struct.unpack(f"<{len(content) // SIZES[datatype]}{FORMATS[datatype]}", content)


def packed(datatype: str, values: Sequence[object]) -> bytes:
    """The values as bytes.

    Raises:
        struct.error, OverflowError: one is none of the datatype.
    """
    if datatype != BYTES:
        return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)
    pieces = []
    for each in values:
        content = each.encode() if isinstance(each, str) else each
        assert isinstance(content, bytes)  # noqa: S101 - for the type checker
        pieces += [LENGTH.pack(len(content)), content]
    return b"".join(pieces)


def elements(content: memoryview) -> Iterator[bytes]:
    """The elements of a `BYTES` tensor in binary.

    Raises:
        ValueError: a length leads beyond the end.
    """
    position = 0
    while position < len(content):
        start = position + LENGTH.size
        if start > len(content):
            raise ValueError("it ends within the length of an element")
        position = start + LENGTH.unpack_from(content, position)[0]
        if position > len(content):
            raise ValueError("the length of an element leads beyond its end")
        yield bytes(content[start:position])
