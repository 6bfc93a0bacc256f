"""An audio file's bytes -> samples a speech model takes: float32, mono, 16 kHz.

libav (PyAV) unpacks the file and soxr resamples it: its HQ setting keeps what would alias more than 100 dB
down, which libswresample's default filter does not. Both work frame by frame, so memory is bounded by
`max_seconds` of samples whatever a file claims to hold, and both release the GIL, so files are read side by
side in worker threads.

The bytes come from strangers. Which demuxer opens them is decided by `_formats`, not by libav's probing,
which would also try playlists (they open files and addresses); `_vetting` sees them first; and only audio
decoders are allowed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import av
import av.container
import numpy as np

from models.audio._conversion import Converter, Samples, is_silent
from models.audio._errors import empty, unparseable, unsupported
from models.audio._formats import container_of, is_known
from models.audio._vetting import tells_length, vetted, without_tags

MAX_SECONDS: Final = 120.0
"""The longest clip by default, in seconds: 7.7 MB of samples."""
MAX_BYTES: Final = 64 * 2**20
"""The largest file by default, in bytes."""

_MAX_DAMAGED = 0.1  # share of packets that are skipped; a flipped bit should not cost a whole clip
_SHORTFALL = 0.1  # seconds by which a declared length may differ (encoder delay and padding)
_CODECS = frozenset(
    name
    for name in av.codecs_available
    if name.startswith(("pcm_", "adpcm_"))
    or name in {"aac", "alac", "flac", "g722", "mp3", "mp3float", "opus", "vorbis"}
)
_OPTIONS = {
    "codec_whitelist": ",".join(_CODECS),
    "advanced_editlist": "0",  # of mp4; each of its edits may list all packets once more
}


def read_audio(
    body: bytes, hint: str | None = None, *, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES
) -> Samples:
    """Read an audio file: wav, mp3, aac (ADTS), m4a, flac, ogg (opus, vorbis) or g722.

    Any sample rate and channel count will do; channels are averaged. The content decides what the file is;
    the hint counts only where the content can't tell.

    Args:
        body: The whole file.
        hint: The format's name as its producer gave it; g722 needs it, having no mark of its own.
        max_seconds: The longest audio allowed, in seconds.
        max_bytes: The largest file allowed, in bytes.

    Returns:
        float32 [T], mono, 16 kHz, at least one sample.

    Raises:
        AudioError: 408 when empty or silent, 402 when of no format served here, 403 when it can't be parsed,
            is cut short (where the format tells its length) or exceeds a limit.
    """
    if not body:
        raise empty("the audio is empty")
    if len(body) > max_bytes:
        raise unparseable(f"the audio has {len(body)} bytes; {max_bytes} are allowed")
    body = without_tags(body)
    name = container_of(body, hint)
    if name is None:
        refused = unparseable if is_known(hint) else unsupported
        raise refused(f"the audio has no known format's mark; the request says {hint!r}")
    try:
        samples = _decoded(vetted(body, name), name, max_seconds)
    except av.FFmpegError as error:
        raise unparseable(f"the audio can't be parsed as {name}: {error.strerror}") from error
    return _checked(samples)


def _decoded(body: bytes, name: str, max_seconds: float) -> Samples:
    with av.open(
        io.BytesIO(body), "r", format=name, metadata_errors="ignore", options=dict(_OPTIONS)
    ) as container:
        stream = _audio_stream(container)
        declared = _seconds(stream) if tells_length(body, name) else 0.0
        frames = _frames(container, stream)
        first = next(frames, None)
        if first is None:
            raise empty("there are no samples in the audio")
        converter = Converter(first, max_seconds)
        converter.feed(first)
        for frame in frames:
            converter.feed(frame)
    if converter.seconds < declared - _SHORTFALL:
        raise unparseable(f"the audio is cut short: {converter.seconds:.1f} s of {declared:.1f} s are there")
    return converter.finish()


def _audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise unsupported("there is no audio in the file")
    stream = container.streams.audio[0]
    decoder: av.AudioCodecContext | None = stream.codec_context  # None where libav has no such decoder
    if decoder is None or decoder.name not in _CODECS:
        raise unsupported(f"the codec is not supported: {decoder.name if decoder else 'unknown'}")
    return stream


def _seconds(stream: av.AudioStream) -> float:
    """What the file says of its length; 0 where it says nothing."""
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """The stream's frames. Skips a few damaged packets, but not the last one: the file is cut short there."""
    packets = damaged = 0
    last_is_damaged = False
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            last_is_damaged = True
            continue
        if packet.size:  # not the empty packet that flushes the decoder at the end
            last_is_damaged = False
        yield from frames
    if damaged > packets * _MAX_DAMAGED:
        raise unparseable(f"the audio is damaged: {damaged} of {packets} packets can't be decoded")
    if last_is_damaged:
        raise unparseable("the audio is cut short: its last packet is incomplete")


def _checked(samples: Samples) -> Samples:
    """Float files may hold anything; what is no number would spoil the whole batch it is computed in."""
    if not np.isfinite(samples).all():
        raise unparseable("there are samples that are no finite numbers")
    if is_silent(samples):
        raise empty("the audio is silent")
    return np.clip(samples, -1, 1)
