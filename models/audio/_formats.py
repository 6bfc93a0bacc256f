"""Which audio format some bytes are, by how they begin; libav is then told, and guesses nothing."""

from __future__ import annotations

from typing import Final

_KNOWN: Final = frozenset({"wav", "mp3", "aac", "m4a", "mp4", "flac", "ogg", "opus", "g722"})
_WITHOUT_MARK: Final = frozenset({"mp3", "aac", "g722"})  # may begin anywhere, so a producer's word is taken
_BY_SYNC_ONLY: Final = frozenset({"mp3", "aac"})  # known by a dozen bits, which other bytes have by chance
_SYNC: Final = 0b111_1111_1111
_NO_VERSION, _NO_BIT_RATE, _NO_RATE = 1, 0b1111, 0b11  # reserved values


def is_known(hint: str | None) -> bool:
    """Whether a producer's `format` names something served here."""
    return _plain(hint) in _KNOWN


def container_of(body: bytes, hint: str | None) -> str | None:
    """Name libav's demuxer for the bytes (without tags); None where neither they nor the hint tell."""
    found = _by_mark(body)
    named = _plain(hint)
    if named == "g722" and (found is None or found in _BY_SYNC_ONLY):
        return named
    if found is None and named in _WITHOUT_MARK:
        return named
    return found


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
