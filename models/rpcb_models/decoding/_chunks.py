"""Files made of chunks, whose writers often don't know how long they will be: what is there counts."""

from __future__ import annotations

import string
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from rpcb_models.decoding._refusal import unparseable

SHORTFALL: Final = 0.1
"""Seconds by which a claimed length may differ: encoder delay and padding, or a wrong size in a header."""

_MOST_CHUNKS: Final = 1000
_HEADER: Final = 8  # bytes
_W64_HEADER: Final = 24
_NO_SIZE: Final = 0x7F00_0000  # a recorder that writes to a pipe claims 0, or this or more
_SEE_DS64: Final = 0xFFFF_FFFF
_LEAST_SHORTFALL: Final = 4_096  # bytes of a wav; a writer's block
_LINE_RATE: Final = 8_000  # bytes a second, and samples
_MOST_BYTE_RATE: Final = 384_000 * 8 * 32
_JUNK: Final = 1_024  # bytes of a text behind a wav's sound that is no chunk
_MOSTLY: Final = 0.9
_PRINTABLE: Final = string.printable.encode()


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    size: int
    """What it claims."""
    start: int
    """Where its content begins."""


def bare_wav(body: bytes, container: str) -> bytes:
    """Return the same wav (or w64) with its format and its sound alone.

    Raises:
        Refusal: there is no sound, or much of it is missing.
    """
    form = sizes = b""
    for chunk in _of_w64(body) if container == "w64" else _of_riff(body, "little"):
        match chunk.kind:
            case b"fmt ":
                form = body[chunk.start : chunk.start + chunk.size]
            case b"ds64":
                sizes = body[chunk.start : chunk.start + chunk.size]
            case b"data":
                claimed = chunk.size
                if claimed == _SEE_DS64 and sizes:
                    claimed = int.from_bytes(sizes[8:16], "little")
                byte_rate = min(int.from_bytes(form[8:12], "little"), _MOST_BYTE_RATE)
                end = chunk.start + _sound_size(claimed, body, chunk.start, byte_rate)
                return _riff(form, memoryview(body)[chunk.start : end])
    raise unparseable(f"there is no sound in the {container} file")


def wav_of_telephony(body: bytes, codec: str) -> bytes:
    """A wav of a telephone line's bare samples: one channel, 8 kHz."""
    kind = {"alaw": 6, "mulaw": 7}[codec]
    return _riff(struct.pack("<HHIIHH", kind, 1, _LINE_RATE, _LINE_RATE, 1, 8), memoryview(body))


def settled_aiff(body: bytes) -> bytes:
    """Return the same AIFF with sizes that are there, where its writer left them open."""
    settled = bytearray(body)
    settled[4:8] = min(len(body) - _HEADER, _NO_SIZE).to_bytes(4, "big")
    for chunk in _of_riff(body, "big"):
        if (
            chunk.kind == b"COMM"
            and int.from_bytes(body[chunk.start + 2 : chunk.start + 6], "big") >= _NO_SIZE
        ):
            settled[chunk.start + 2 : chunk.start + 6] = bytes(4)
        if chunk.kind == b"SSND":
            there = len(body) - chunk.start
            if chunk.size == 0 or chunk.size > there:
                settled[chunk.start - 4 : chunk.start] = there.to_bytes(4, "big")
            break
    return bytes(settled)


def _of_riff(body: bytes, order: Literal["little", "big"]) -> Iterator[_Chunk]:
    at = 12
    for _ in range(_MOST_CHUNKS):
        start = at + _HEADER
        if start > len(body):
            return
        size = int.from_bytes(body[at + 4 : start], order)
        yield _Chunk(body[at : at + 4], size, start)
        at = start + size + size % 2


def _of_w64(body: bytes) -> Iterator[_Chunk]:
    """Its kinds have 16 bytes, of which the first four tell, and its sizes eight, which count the header."""
    at = 40
    for _ in range(_MOST_CHUNKS):
        start = at + _W64_HEADER
        if start > len(body):
            return
        size = max(int.from_bytes(body[at + 16 : start], "little") - _W64_HEADER, 0)
        yield _Chunk(body[at : at + 4], size, start)
        at = start + (size + 7) // 8 * 8


def _sound_size(claimed: int, body: bytes, start: int, byte_rate: int) -> int:
    """How many of the bytes that are there belong to the sound.

    Writers miscount: by a header's length, or by all that came after they had written it.
    """
    there = len(body) - start
    if claimed == 0 or claimed >= _NO_SIZE:
        return there
    if claimed > there + max(_LEAST_SHORTFALL, round(SHORTFALL * byte_rate)):
        raise unparseable(f"the audio is cut short: {there} of {claimed} bytes are there")
    rest = start + claimed + claimed % 2
    if rest >= len(body) or _is_no_sound(body, rest):
        return min(claimed, there)
    return there


def _is_no_sound(body: bytes, at: int) -> bool:
    """Whether another chunk begins here, or a little text that is none: a tag, the end of a form."""
    if body[at : at + 4].translate(None, _PRINTABLE):
        return False
    size, left = int.from_bytes(body[at + 4 : at + _HEADER], "little"), len(body) - at
    if _HEADER + size <= left + size % 2:
        return True
    text = left - len(body[at : at + _JUNK].translate(None, _PRINTABLE + b"\0"))
    return left <= _JUNK and text > _MOSTLY * left


def _riff(form: bytes, sound: memoryview) -> bytes:
    size = min(4 + 2 * _HEADER + len(form) + len(sound), _NO_SIZE)
    return b"".join(
        (
            b"RIFF",
            size.to_bytes(4, "little"),
            b"WAVEfmt ",
            len(form).to_bytes(4, "little"),
            form,
            b"data",
            len(sound).to_bytes(4, "little"),
            sound,
        )
    )
