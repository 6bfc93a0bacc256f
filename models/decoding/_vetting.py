"""What a file claims, checked before libav acts on it.

libav believes what it reads: a few kilobytes can make it list 2**26 packets, clear two gigabytes for a
comment or unpack a compressed table. The kernel bounds what that may cost; here it costs nothing. So tags and
what else is not sound are dropped, and claims compared with what is there.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Final

from models.decoding._refusal import unparseable

SHORTFALL: Final = 0.1
"""Seconds by which a claimed length may differ: encoder delay and padding, or a wrong size in a header."""

_ID3_HEADER: Final = 10  # bytes
_MOST_TAGS: Final = 4  # editors that don't know a tag put theirs in front of it
_MOST_CHUNKS: Final = 1000  # of a wav
_CHUNK_HEADER: Final = 8  # bytes
_NO_SIZE: Final = 0x7FFF_0000  # a wav written to a pipe says 0, or this or more
_SEE_DS64: Final = 0xFFFF_FFFF
_LEAST_SHORTFALL: Final = 4_096  # bytes of a wav; a writer's block
_MOST_BYTE_RATE: Final = 384_000 * 8 * 32
_JUNK: Final = 1_024  # bytes of a text behind a wav's sound that is no chunk
_MOSTLY: Final = 0.9
_PRINTABLE: Final = string.printable.encode()
_OGG_HEADER: Final = 27  # bytes, then the segments' lengths
_MP4_COUNTS: Final = re.compile(rb"(?=(?:stsz.{8}|stz2.{8}|trun.{4})(.{4}))", re.DOTALL)
_MOST_MP4_PACKETS: Final = 2**20  # five hours of aac; libav takes 10 s and 2 GB for 2**26 in a 13 kB file
_TELL_LENGTH: Final = frozenset({"aiff", "asf", "au", "caf", "flac", "w64", "wv"})


def without_tags(body: bytes) -> bytes:
    """Drop ID3v2 tags, which may hold pictures and compressed frames; their size has seven bits to a byte."""
    for _ in range(_MOST_TAGS):
        if body[:3] != b"ID3" or len(body) < _ID3_HEADER:
            break
        high, second, third, low = (byte & 0x7F for byte in body[6:_ID3_HEADER])
        body = body[_ID3_HEADER + (high << 21 | second << 14 | third << 7 | low) :]
    return body


def vetted(body: bytes, container: str) -> bytes:
    """Return the bytes libav may see.

    Raises:
        Refusal: the file is cut short, or claims more than it can hold.
    """
    match container:
        case "wav":
            return _bare_wav(body)
        case "ogg" if _ends_within_page(body):
            raise unparseable("the audio is cut short: its last page is incomplete")
        case "mp4" if _claims_too_much(body):
            raise unparseable("the audio claims more packets than a clip can have")
        case _:
            return body


def tells_length(body: bytes, container: str) -> bool:
    """Whether libav knows from the file itself how long it is, so that a part can be told from the whole."""
    if container == "mp3":
        return b"Xing" in body[:256] or b"Info" in body[:256]
    return container in _TELL_LENGTH


def may_end_anywhere(body: bytes, container: str) -> bool:
    """Whether half a packet at the end says nothing: a recorder sends such a file while it writes it.

    The length of a wav is known from its header.
    """
    return container in {"matroska", "wav"} or (container == "mp4" and b"moof" in body)


def _bare_wav(body: bytes) -> bytes:
    """The same wav with its format and its sound alone."""
    kept: dict[bytes, bytes] = {}
    at = 12
    for _ in range(_MOST_CHUNKS):
        kind, size, start = body[at : at + 4], int.from_bytes(body[at + 4 : at + 8], "little"), at + 8
        if kind == b"data":
            if size == _SEE_DS64 and b"ds64" in kept:
                size = int.from_bytes(kept[b"ds64"][8:16], "little")
            form = kept.get(b"fmt ", b"")
            return _riff(form, body, start, start + _sound_size(size, body, start, form))
        kept[kind] = body[start : start + size]
        at = start + size + size % 2
    raise unparseable("there is no sound in the wav file")


def _sound_size(claimed: int, body: bytes, start: int, form: bytes) -> int:
    """How many of the bytes that are there belong to the sound.

    Writers miscount: by a header's length, or by all that came after they had written it.
    """
    there = len(body) - start
    if claimed == 0 or claimed >= _NO_SIZE:
        return there
    byte_rate = min(int.from_bytes(form[8:12], "little"), _MOST_BYTE_RATE)
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
    size, left = int.from_bytes(body[at + 4 : at + 8], "little"), len(body) - at
    if _CHUNK_HEADER + size <= left + size % 2:
        return True
    text = left - len(body[at : at + _JUNK].translate(None, _PRINTABLE + b"\0"))
    return left <= _JUNK and text > _MOSTLY * left


def _riff(form: bytes, body: bytes, start: int, end: int) -> bytes:
    size = end - start
    return b"".join(
        (
            b"RIFF",
            min(4 + 2 * _CHUNK_HEADER + len(form) + size, _NO_SIZE).to_bytes(4, "little"),
            b"WAVEfmt ",
            len(form).to_bytes(4, "little"),
            form,
            b"data",
            size.to_bytes(4, "little"),
            memoryview(body)[start:end],
        )
    )


def _ends_within_page(body: bytes) -> bool:
    """Whether an Ogg file's last page is incomplete; libav would drop it without a word."""
    start = body.rfind(b"OggS")
    header = body[start : start + _OGG_HEADER]
    if len(header) < _OGG_HEADER:
        return True
    lengths = body[start + _OGG_HEADER : start + _OGG_HEADER + header[-1]]
    return start + _OGG_HEADER + header[-1] + sum(lengths) > len(body)


def _claims_too_much(body: bytes) -> bool:
    """Whether an MP4 file's tables claim more packets than any clip has, or are compressed."""
    claimed = 0
    for table in _mp4_tables(body):
        if b"cmvd" in table:
            return True
        claimed += sum(int.from_bytes(count, "big") for count in _MP4_COUNTS.findall(table))
    return claimed > _MOST_MP4_PACKETS


def _mp4_tables(body: bytes) -> Iterator[bytes]:
    """The outermost boxes, but for those of sound."""
    at = 0
    while at < len(body):
        size, kind = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if size == 1:  # the real size follows in eight bytes
            size = int.from_bytes(body[at + 8 : at + 16], "big")
        end = at + size if size >= 8 else len(body)  # noqa: PLR2004 (0 says "to the end")
        if kind != b"mdat":
            yield body[at:end]
        at = end
