"""Which audio format some bytes are and what they claim, read from the bytes themselves.

libav is told the format and guesses nothing, and a file whose claims would cost more than it is worth never
reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_KNOWN: Final = frozenset({"wav", "mp3", "aac", "m4a", "mp4", "flac", "ogg", "opus", "g722"})
_WITHOUT_MARK: Final = frozenset({"mp3", "aac", "g722"})  # may begin anywhere, so a producer's word is taken
_BY_SYNC_ONLY: Final = frozenset({"mp3", "aac"})  # known by a dozen bits, which other bytes have by chance
_ID3_HEADER: Final = 10  # bytes
_MOST_TAGS: Final = 4  # editors that don't know a tag put theirs in front of it
_OGG_HEADER: Final = 27  # bytes, then the segments' lengths
_SYNC: Final = 0b111_1111_1111
_NO_VERSION, _NO_BIT_RATE, _NO_RATE = 1, 0b1111, 0b11  # reserved values
_NO_SIZE: Final = 0x7FFF_0000  # a wav written to a pipe says 0, or this or more
_MP4_COUNTS: Final = re.compile(rb"(?=(?:stsz.{8}|stz2.{8}|trun.{4})(.{4}))", re.DOTALL)
_MOST_MP4_PACKETS: Final = 2**20  # five hours of aac; libav takes 10 s and 2 GB for 2**26 in a 13 kB file


def is_known(hint: str | None) -> bool:
    """Whether a producer's `format` names something served here."""
    return _plain(hint) in _KNOWN


def container_of(body: bytes, hint: str | None) -> str | None:
    """Name libav's demuxer for bytes `without_tags`; None where neither they nor the hint tell."""
    found = _by_mark(body)
    named = _plain(hint)
    if named == "g722" and (found is None or found in _BY_SYNC_ONLY):
        return named
    if found is None and named in _WITHOUT_MARK:
        return named
    return found


def without_tags(body: bytes) -> bytes:
    """Drop ID3v2 tags, which may hold pictures and compressed frames; their size has seven bits to a byte."""
    for _ in range(_MOST_TAGS):
        if body[:3] != b"ID3" or len(body) < _ID3_HEADER:
            break
        high, second, third, low = (byte & 0x7F for byte in body[6:_ID3_HEADER])
        body = body[_ID3_HEADER + (high << 21 | second << 14 | third << 7 | low) :]
    return body


def tells_length(body: bytes, container: str) -> bool:
    """Whether the file says how long it is, so that a part of it can be told from the whole."""
    match container:
        case "flac":
            return True
        case "wav":
            return 0 < int.from_bytes(body[4:8], "little") < _NO_SIZE
        case "mp3":
            return b"Xing" in body[:256] or b"Info" in body[:256]
        case _:
            return False


def ends_within_page(body: bytes) -> bool:
    """Whether an Ogg file's last page is incomplete; libav would drop it without a word."""
    start = body.rfind(b"OggS")
    header = body[start : start + _OGG_HEADER]
    if len(header) < _OGG_HEADER:
        return True
    lengths = body[start + _OGG_HEADER : start + _OGG_HEADER + header[-1]]
    return start + _OGG_HEADER + header[-1] + sum(lengths) > len(body)


def claims_too_much(body: bytes) -> bool:
    """Whether an MP4 file's tables claim more packets than any clip has; libav would list them all."""
    tables = (body[start:end] for kind, start, end in _mp4_boxes(body) if kind != b"mdat")
    claimed = sum(int.from_bytes(count, "big") for table in tables for count in _MP4_COUNTS.findall(table))
    return claimed > _MOST_MP4_PACKETS


def _mp4_boxes(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes: kind, start and end."""
    at = 0
    while at < len(body):
        size, kind = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if size == 1:  # the real size follows in eight bytes
            size = int.from_bytes(body[at + 8 : at + 16], "big")
        end = at + size if size >= 8 else len(body)  # noqa: PLR2004 (0 says "to the end")
        yield kind, at, end
        at = end


def _plain(hint: str | None) -> str:
    return (hint or "").strip().lower().removeprefix(".")


def _by_mark(body: bytes) -> str | None:
    match body[:4]:
        case b"RIFF" | b"RF64" | b"BW64" if body[8:12] == b"WAVE":
            return "wav"
        case b"OggS":
            return "ogg"
        case b"fLaC":
            return "flac"
        case head:
            return "mp4" if body[4:8] == b"ftyp" else _by_sync(head)


def _by_sync(head: bytes) -> str | None:
    """A frame header of MPEG audio: eleven set bits, then version, layer, bit rate and sample rate."""
    header = int.from_bytes(head, "big")
    if header >> 21 != _SYNC:
        return None
    version, layer, bit_rate, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if layer == 0:
        return "aac" if header >> 20 & 1 else None  # ADTS has a twelfth set bit and no layer
    reserved = version == _NO_VERSION or bit_rate == _NO_BIT_RATE or rate == _NO_RATE
    return None if reserved else "mp3"
