"""Which format some bytes are, by how they begin; libav is then told, and guesses nothing."""

from __future__ import annotations

from typing import Final

TAKEN: Final = (
    "wav (and w64), mp3 and mp2, aac, m4a/mp4/mov/3gp, flac, ogg (opus, vorbis, flac, speex), webm and mka, "
    "amr, caf, aiff, wma, au, wavpack; g722, gsm, ulaw and alaw where the format is named"
)
"""For a refusal's text."""

CODECS: Final = frozenset(
    (
        *("aac", "alac", "flac", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "opus", "vorbis"),
        *("amrnb", "amrwb", "gsm", "gsm_ms", "ilbc", "speex", "wavpack"),
        *("wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice"),
        *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha", "g722", "g726", "g726le"),
        *("pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8"),
        *("pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_s16be", "pcm_s16le"),
        *("pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s64be", "pcm_s64le"),
    )
)
"""libav's decoders that may run, all of them for sound."""

_KNOWN: Final = frozenset(
    (
        *("wav", "wave", "w64", "mp3", "mp2", "mp1", "mpeg", "aac", "m4a", "mp4", "m4b", "mov", "3gp", "3g2"),
        *("flac", "ogg", "oga", "opus", "spx", "speex", "webm", "weba", "mka", "mkv", "amr", "awb", "caf"),
        *("aif", "aiff", "aifc", "wma", "asf", "au", "snd", "wv", "wavpack", "g722", "gsm"),
        *("3gpp", "3gpp2", "qta", "vnd.wave", "ulaw", "mulaw", "pcmu", "basic", "alaw", "pcma"),
    )
)
_WITHOUT_MARK: Final = {  # may begin anywhere, so a producer's word is taken
    **dict.fromkeys(("mp1", "mp2", "mp3", "mpeg"), "mp3"),
    **{name: name for name in ("aac", "g722", "gsm")},
    **dict.fromkeys(("ulaw", "mulaw", "pcmu", "basic"), "mulaw"),  # audio/basic is no other thing
    **dict.fromkeys(("alaw", "pcma"), "alaw"),
}
_WITHOUT_ANY: Final = frozenset({"alaw", "g722", "gsm", "mulaw"})
_BY_SYNC_ONLY: Final = frozenset({"mp3", "aac"})  # known by a dozen bits, which other bytes have by chance
_SYNC: Final = 0b111_1111_1111
_NO_VERSION, _NO_BIT_RATE, _NO_RATE = 1, 0b1111, 0b11  # reserved values
_MARKS: Final = {
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"#!AMR": "amr",
    b"caff": "caf",
    b".snd": "au",
    b"wvpk": "wv",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"riff\x2e\x91\xcf\x11": "w64",
}
_MP4_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip"})
_OTHERS: Final = {
    b"RIFX": "RIFX",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip",
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a list of files",
    b"[playlist]": "a playlist",
    b"MThd": "MIDI",
    b"MAC ": "Monkey's Audio",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"TTA1": "True Audio",
    b"DSD ": "DSD",
    b"FRM8": "DSD",
    b"ajkg": "Shorten",
    b"NIST_1A": "NIST Sphere",
    b"#!SILK": "SILK",
    b"\x02#!SILK": "SILK as WeChat has it",
    b"\x02dss": "DSS, of a dictation machine",
    b"\x03ds2": "DSS, of a dictation machine",
    b"Creative Voice": "Creative Voice",
    b".RMF": "RealMedia",
    b"FLV": "Flash video",
    b"\0\0\1\xba": "MPEG video",
    b"\x47\x40": "an MPEG transport stream",
    b"\x0b\x77": "AC-3",
    b"\x7f\xfe\x80\x01": "DTS",
    b"{": "JSON",
    b"<": "HTML or XML",
}


def is_known(hint: str) -> bool:
    """Whether a producer's `format` names something taken here."""
    return _plain(hint) in _KNOWN


def container_of(body: bytes, hint: str) -> str | None:
    """Name libav's demuxer for the bytes (without tags); None where neither they nor the hint tell."""
    found = _by_mark(body)
    named = _WITHOUT_MARK.get(_plain(hint))
    if named in _WITHOUT_ANY and (found is None or found in _BY_SYNC_ONLY):
        return named
    return found or named


def looks_like(body: bytes) -> str:
    """Say what bytes are that are not taken."""
    if body[:4] == b"RIFF":
        return f"RIFF {body[8:12].decode('ascii', 'replace')!r}"
    for mark, name in _OTHERS.items():
        if body.startswith(mark):
            return name
    return f"bytes that begin with {body[:8].hex(' ')}"


def _plain(hint: str) -> str:
    return hint.partition(";")[0].rpartition("/")[2].strip().lower().removeprefix(".").removeprefix("x-")


def _by_mark(body: bytes) -> str | None:
    if body[:4] in {b"RIFF", b"RF64", b"BW64"} and body[8:12] == b"WAVE":
        return "wav"
    if body[:4] == b"FORM" and body[8:12] in {b"AIFF", b"AIFC"}:
        return "aiff"
    if body[4:8] in _MP4_BOXES:
        return "mp4"
    for mark, container in _MARKS.items():
        if body.startswith(mark):
            return container
    return _by_sync(body[:4])


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
