"""An audio file's bytes -> samples a speech model takes: float32, mono, 16 kHz.

libav (PyAV) unpacks the file and soxr resamples it: its HQ setting keeps what would alias more than 100 dB
down, which libswresample's default filter does not. Both work frame by frame, so memory is bounded by
`max_seconds` of samples whatever a file claims to hold, and both release the GIL, so files are read side by
side in worker threads.

The bytes come from strangers. Which demuxer opens them is decided by `containers`, not by libav's probing,
which would also try playlists (they open files and addresses), and only audio decoders are allowed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final, TypeAlias

from models.containers import (
    claims_too_much,
    container_of,
    ends_within_page,
    is_known,
    tells_length,
    without_tags,
)
from models.wire import RefusedRequest, Status
from rpcb_trio import SettingError

try:
    import av
    import av.container
    import numpy as np
    import numpy.typing as npt
    import soxr
except ModuleNotFoundError as missing:
    raise SettingError(f"reading audio needs {missing.name}: pip install 'rpcb-trio[audio]'") from missing

Samples: TypeAlias = "npt.NDArray[np.float32]"
"""float32 [T], mono, 16 kHz, within -1 and 1."""

SAMPLE_RATE: Final = 16_000
"""Of all samples, in Hz."""
MAX_SECONDS: Final = 120.0
"""The longest clip by default, in seconds: 7.7 MB of samples."""
MAX_BYTES: Final = 64 * 2**20
"""The largest file by default, in bytes."""

_SILENCE = 1e-4  # a 16-bit recording of a quiet room is louder
_RATES = range(4_000, 384_001)
_MAX_CHANNELS = 32
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


class AudioError(RefusedRequest):
    """Audio that can't be used; `status` is 402 (unsupported), 403 (unparseable) or 408 (empty)."""


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
        raise AudioError(Status.EMPTY, "the audio is empty")
    if len(body) > max_bytes:
        raise _unparseable(f"the audio has {len(body)} bytes; {max_bytes} are allowed")
    body = without_tags(body)
    name = container_of(body, hint)
    if name is None:
        status = Status.UNPARSEABLE if is_known(hint) else Status.UNSUPPORTED_FORMAT
        raise AudioError(status, f"the audio has no known format's mark; the request says {hint!r}")
    _refuse_by_look(body, name)
    try:
        samples = _decoded(body, name, max_seconds)
    except av.FFmpegError as error:
        raise _unparseable(f"the audio can't be parsed as {name}: {error.strerror}") from error
    return _checked(samples)


def is_silent(samples: Samples) -> bool:
    """Whether no sample is above -80 dBFS; so where there are none."""
    return bool(np.abs(samples).max(initial=0.0) < _SILENCE)


def _refuse_by_look(body: bytes, name: str) -> None:
    if name == "mp4" and claims_too_much(body):
        raise _unparseable("the audio claims more packets than a clip can have")
    if name == "ogg" and ends_within_page(body):
        raise _unparseable("the audio is cut short: its last page is incomplete")


def _decoded(body: bytes, name: str, max_seconds: float) -> Samples:
    with av.open(
        io.BytesIO(body), "r", format=name, metadata_errors="ignore", options=dict(_OPTIONS)
    ) as container:
        stream = _audio_stream(container)
        sized = tells_length(body, name)
        declared = _seconds(stream) if sized else 0.0
        if declared > max_seconds:
            raise _too_long(max_seconds)
        converter = _Converter(max_seconds)
        for frame in _frames(container, stream, sized=sized):
            converter.feed(frame)
    if converter.seconds < declared - _SHORTFALL:
        raise _unparseable(f"the audio is cut short: {converter.seconds:.1f} s of {declared:.1f} s are there")
    return converter.finish()


def _audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise AudioError(Status.UNSUPPORTED_FORMAT, "there is no audio in the file")
    stream = container.streams.audio[0]
    decoder: av.AudioCodecContext | None = stream.codec_context  # None where libav has no such decoder
    if decoder is None or decoder.name not in _CODECS:
        codec = "unknown" if decoder is None else decoder.name
        raise AudioError(Status.UNSUPPORTED_FORMAT, f"the codec is not supported: {codec}")
    return stream


def _seconds(stream: av.AudioStream) -> float:
    """What the file says of its length; 0 where it says nothing."""
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, *, sized: bool
) -> Iterator[av.AudioFrame]:
    """The stream's frames. Skips a few damaged packets, but not the last one: the file is cut short there."""
    packets = damaged = 0
    cut = False
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            cut = True
            continue
        if packet.size:  # not the empty packet that flushes the decoder at the end
            cut = packet.is_corrupt and sized
        yield from frames
    if damaged > packets * _MAX_DAMAGED:
        raise _unparseable(f"the audio is damaged: {damaged} of {packets} packets can't be decoded")
    if cut:
        raise _unparseable("the audio is cut short: its last packet is incomplete")


class _Converter:
    """Turns frames into mono samples at 16 kHz and counts their seconds."""

    def __init__(self, max_seconds: float) -> None:
        self.seconds = 0.0
        self._max_seconds = max_seconds
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._pieces: list[Samples] = []

    def feed(self, frame: av.AudioFrame) -> None:
        if not self._rate:
            self._start(frame)
        if frame.sample_rate != self._rate:
            raise _unparseable("the audio's sample rate changes on the way")
        self.seconds += frame.samples / self._rate
        if self.seconds > self._max_seconds:
            raise _too_long(self._max_seconds)
        mono = _mono(frame)
        self._pieces.append(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def finish(self) -> Samples:
        if self._resampler:
            self._pieces.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)

    def _start(self, frame: av.AudioFrame) -> None:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if rate not in _RATES or channels > _MAX_CHANNELS:
            raise AudioError(Status.UNSUPPORTED_FORMAT, f"{channels} channels at {rate} Hz are not supported")
        self._rate = rate
        if rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")


def _mono(frame: av.AudioFrame) -> Samples:
    """Average a frame's channels; whole numbers are brought to -1 to 1."""
    values = frame.to_ndarray()
    by_channel = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    mono: Samples = by_channel.mean(axis=0, dtype=np.float32)
    if values.dtype.kind == "f":
        return mono
    full_scale = np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
    return mono / full_scale - (1 if values.dtype.kind == "u" else 0)


def _checked(samples: Samples) -> Samples:
    """Float files may hold anything; what is no number would spoil the whole batch it is computed in."""
    if not samples.size:
        raise AudioError(Status.EMPTY, "there are no samples in the audio")
    if not np.isfinite(samples).all():
        raise _unparseable("there are samples that are no finite numbers")
    if is_silent(samples):
        raise AudioError(Status.EMPTY, "the audio is silent")
    return np.clip(samples, -1, 1)


def _too_long(max_seconds: float) -> AudioError:
    return _unparseable(f"the audio is longer than the {max_seconds:g} s allowed")


def _unparseable(reason: str) -> AudioError:
    return AudioError(Status.UNPARSEABLE, reason)
