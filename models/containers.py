"""Which audio format some bytes are, by their first bytes; libav is then told, and guesses nothing."""

from __future__ import annotations

from typing import Final

_KNOWN: Final = frozenset({"wav", "mp3", "aac", "m4a", "mp4", "flac", "ogg", "opus", "g722"})
_WITHOUT_MARK: Final = frozenset({"mp3", "aac", "g722"})  # may begin anywhere, so a producer's word is taken
_SYNC_ONLY: Final = frozenset({"mp3", "aac"})  # known by a dozen bits, which other bytes have by chance
_ID3_HEADER: Final = 10  # bytes
_SYNC: Final = 0b111_1111_1111
_NO_VERSION, _NO_BIT_RATE, _NO_RATE = 1, 0b1111, 0b11  # reserved values
_NO_SIZE: Final = 0x7FFF_0000  # what a wav written to a pipe says is 0 or above this


def is_known(hint: str | None) -> bool:
    """Whether a producer's `format` names something served here."""
    return _plain(hint) in _KNOWN


def container_of(body: bytes, hint: str | None) -> str | None:
    """Name libav's demuxer for these bytes; None where neither they nor the hint tell."""
    found = _by_mark(body)
    named = _plain(hint)
    if named == "g722" and (found is None or found in _SYNC_ONLY):
        return named
    if found is None and named in _WITHOUT_MARK:
        return named
    return found


def tells_length(body: bytes, container: str) -> bool:
    """Whether the file says how long it is, so that a part of it can be told from the whole."""
    match container:
        case "flac":
            return True
        case "wav":
            return 0 < int.from_bytes(body[4:8], "little") < _NO_SIZE
        case "mp3":
            start = _after_id3(body)
            first_frame = body[start : start + 256]
            return b"Xing" in first_frame or b"Info" in first_frame
        case _:
            return False


def _plain(hint: str | None) -> str:
    return (hint or "").strip().lower().removeprefix(".")


def _by_mark(body: bytes) -> str | None:
    if body[:4] in {b"RIFF", b"RF64", b"BW64"} and body[8:12] == b"WAVE":
        return "wav"
    if body[:4] == b"OggS":
        return "ogg"
    if body[4:8] == b"ftyp":
        return "mp4"
    start = _after_id3(body)
    if body[start : start + 4] == b"fLaC":
        return "flac"
    return _by_sync(body[start : start + 4]) or ("mp3" if start else None)


def _after_id3(body: bytes) -> int:
    """Where an ID3v2 tag ends; its size has seven bits to a byte."""
    if body[:3] != b"ID3" or len(body) < _ID3_HEADER:
        return 0
    high, second, third, low = (byte & 0x7F for byte in body[6:_ID3_HEADER])
    return _ID3_HEADER + (high << 21 | second << 14 | third << 7 | low)


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
