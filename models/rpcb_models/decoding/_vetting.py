"""What a file claims, checked before libav acts on it.

libav believes what it reads: a few kilobytes can make it list 2**26 packets, clear two gigabytes for a
comment or unpack a compressed table. The kernel bounds what that may cost; here it costs nothing. So tags and
what else is not sound are dropped, and claims compared with what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rpcb_models.decoding._chunks import bare_wav, settled_aiff, wav_of_telephony
from rpcb_models.decoding._refusal import unparseable

_ID3_HEADER: Final = 10  # bytes
_MOST_TAGS: Final = 4  # editors that don't know a tag put theirs in front of it
_OGG_HEADER: Final = 27  # bytes, then the segments' lengths
_MP4_COUNTS: Final = re.compile(rb"(?=(?:stsz.{8}|stz2.{8}|trun.{4})(.{4}))", re.DOTALL)
_MOST_MP4_PACKETS: Final = 2**20  # five hours of aac; libav takes 10 s and 2 GB for 2**26 in a 13 kB file
_TELL_LENGTH: Final = frozenset({"aiff", "au", "caf", "flac", "wv"})


def without_tags(body: bytes) -> bytes:
    """Drop ID3v2 tags, which may hold pictures and compressed frames; their size has seven bits to a byte."""
    for _ in range(_MOST_TAGS):
        if body[:3] != b"ID3" or len(body) < _ID3_HEADER:
            break
        high, second, third, low = (byte & 0x7F for byte in body[6:_ID3_HEADER])
        body = body[_ID3_HEADER + (high << 21 | second << 14 | third << 7 | low) :]
    return body


def vetted(body: bytes, container: str) -> tuple[bytes, str]:
    """Return the bytes libav may see, and as what.

    Raises:
        Refusal: the file is cut short, or claims more than it can hold.
    """
    match container:
        case "wav" | "w64":
            return bare_wav(body, container), "wav"
        case "alaw" | "mulaw":  # libav would take them for 44.1 kHz
            return wav_of_telephony(body, container), "wav"
        case "aiff":
            return settled_aiff(body), container
        case "ogg" if _ends_within_page(body):
            raise unparseable("the audio is cut short: its last page is incomplete")
        case "mp4" if _claims_too_much(body):
            raise unparseable("the audio claims more packets than a clip can have")
        case _:
            return body, container


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
