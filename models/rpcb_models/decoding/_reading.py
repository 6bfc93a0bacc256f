"""A recording's bytes -> samples a speech model takes: float32, mono, 16 kHz.

libav (PyAV) unpacks the file and soxr resamples it: its HQ setting keeps what would alias more than 100 dB
down, which libswresample's default filter does not.

The bytes come from strangers. Which demuxer opens them is decided by `_formats`, not by libav's probing,
which would also try playlists (they open files and addresses); `_vetting` sees them first; and only decoders
for sound are allowed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import av
import av.container
import numpy as np

from rpcb_models.decoding._chunks import SHORTFALL
from rpcb_models.decoding._conversion import Converter, Samples
from rpcb_models.decoding._formats import CODECS, TAKEN, container_of, is_known, looks_like
from rpcb_models.decoding._refusal import empty, unparseable, unsupported
from rpcb_models.decoding._vetting import may_end_anywhere, tells_length, vetted, without_tags
from rpcb_models.decoding.protocol import SILENCE

_MAX_DAMAGED: Final = 0.1  # share of packets that are skipped; a flipped bit should not cost a whole clip
_LONGEST_CLAIM: Final = 3_600  # seconds; a recorder that writes to a pipe claims as much as the field holds
_MOST_SHOWN: Final = 60  # characters
_OPTIONS: Final = {
    "codec_whitelist": ",".join(CODECS),
    "advanced_editlist": "0",  # of mp4; each of its edits may list all packets once more
    "probesize": "4096",  # bytes to find out what is there; the default decodes seconds of sound for it
}


def read(body: bytes, hint: str, max_seconds: float) -> Iterator[Samples]:
    """Read a recording, block by block. What an error comes after is not to be used.

    Args:
        body: The whole file, not empty.
        hint: What its producer calls the format, or nothing.
        max_seconds: The longest recording allowed, in seconds.

    Raises:
        Refusal: it is empty, silent, of no format that is taken, can't be parsed, is cut short (where the
            format tells its length) or too long.
        MemoryError: it wants more than this process may have.
    """
    body = without_tags(body)
    name = container_of(body, hint)
    if name is None:
        refused = unparseable if is_known(hint) else unsupported
        told = f"; the request calls it {repr(hint)[:_MOST_SHOWN]}" if hint else ""
        raise refused(f"the audio looks like {looks_like(body)}{told}; taken are {TAKEN}")
    try:
        body, name = vetted(body, name)
        yield from _checked(_decoded(body, name, Converter(max_seconds)))
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise unparseable(f"the audio can't be parsed as {name}: {error.strerror}") from error


def _decoded(body: bytes, name: str, converter: Converter) -> Iterator[Samples]:
    with av.open(
        io.BytesIO(body), "r", format=name, metadata_errors="ignore", options=dict(_OPTIONS)
    ) as container:
        stream = _audio_stream(container, name)
        declared = _seconds(stream) if tells_length(body, name) else 0.0
        for frame in _frames(container, stream, may_end=may_end_anywhere(body, name)):
            converter.feed(frame)
            yield from converter.ready()
    if not converter.seconds:
        raise empty("there are no samples in the audio")
    if converter.seconds < declared - SHORTFALL:
        raise unparseable(f"the audio is cut short: {converter.seconds:.1f} s of {declared:.1f} s are there")
    converter.finish()
    yield from converter.ready(final=True)


def _audio_stream(container: av.container.InputContainer, name: str) -> av.AudioStream:
    """The first that can be heard here; a phone's film may have its sound twice."""
    refused = []
    for stream in container.streams.audio:
        decoder: av.AudioCodecContext | None = stream.codec_context  # None where libav has no such decoder
        if decoder is not None and decoder.name in CODECS:
            return stream
        refused.append(decoder.name if decoder is not None else "one that libav does not know")
    if not refused:
        raise unsupported(f"there is no sound in the {name} file")
    raise unsupported(f"the codec in the {name} file is not taken: {refused[0]}; taken are {TAKEN}")


def _seconds(stream: av.AudioStream) -> float:
    """What the file says of its length; 0 where it says nothing."""
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    return seconds if seconds < _LONGEST_CLAIM else 0.0


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, *, may_end: bool
) -> Iterator[av.AudioFrame]:
    """The stream's frames. Skips a few damaged packets, but not the last one: the file is cut short there."""
    packets = damaged = 0
    last_is_damaged = False
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.FFmpegError as error:  # of which invalid data is the usual one
            if isinstance(error, MemoryError):
                raise
            damaged += 1
            last_is_damaged = True
            continue
        if packet.size:  # not the empty packet that flushes the decoder at the end
            last_is_damaged = False
        yield from frames
    if damaged > packets * _MAX_DAMAGED:
        raise unparseable(f"the audio is damaged: {damaged} of {packets} packets can't be decoded")
    if last_is_damaged and not may_end:
        raise unparseable("the audio is cut short: its last packet is incomplete")


def _checked(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Float files may hold anything; what is no number would spoil the whole batch it is computed in."""
    loudest = 0.0
    for samples in blocks:
        if not np.isfinite(samples).all():
            raise unparseable("there are samples that are no finite numbers")
        loudest = max(loudest, float(np.abs(samples).max(initial=0.0)))
        yield np.clip(samples, -1, 1, out=samples)
    if loudest < SILENCE:
        raise empty("the audio is silent")
