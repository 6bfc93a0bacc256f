"""Audio files made on the spot, in any format a producer may send."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

FILES = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "aac": ("adts", "aac"),
    "m4a": ("ipod", "aac"),
    "flac": ("flac", "flac"),
    "opus": ("ogg", "libopus"),
    "g722": ("g722", "g722"),
}
"""Producer's name of a format -> libav's container and codec."""


@dataclass(frozen=True)
class Kind:
    """How a recorder writes."""

    container: str
    codec: str
    rate: int = 48_000
    options: dict[str, str] = field(default_factory=dict)
    hint: str = ""


_BIT_RATES = {"libopencore_amrnb": 12_200, "wmav1": 64_000, "wmav2": 64_000}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

RECORDERS = {
    "MediaRecorder of Chrome: webm with opus": Kind("webm", "libopus", options={"live": "1"}),
    "MediaRecorder of Firefox: ogg with opus": Kind("ogg", "libopus"),
    "MediaRecorder of Chrome: fragments of mp4 with opus": Kind("mp4", "libopus", options=_FRAGMENTS),
    "MediaRecorder of Safari: fragments of mp4 with aac": Kind("mp4", "aac", options=_FRAGMENTS),
    "MediaRecorder of Safari: fragments of mp4 with alac": Kind("mp4", "alac", 44_100, options=_FRAGMENTS),
    "webm with vorbis": Kind("webm", "vorbis"),
    "mka with aac": Kind("matroska", "aac"),
    "mka with flac": Kind("matroska", "flac"),
    "mka with pcm": Kind("matroska", "pcm_s16le"),
    "mka with mp3": Kind("matroska", "libmp3lame"),
    "Android: 3gp with amr": Kind("3gp", "libopencore_amrnb", 8_000),
    "Android: 3gp with aac": Kind("3gp", "aac"),
    "Android: amr": Kind("amr", "libopencore_amrnb", 8_000),
    "iPhone: m4a with aac": Kind("ipod", "aac", 44_100),
    "iPhone: m4a with alac": Kind("ipod", "alac", 44_100),
    "mp4 with opus": Kind("mp4", "libopus"),
    "mp4 with mp3": Kind("mp4", "libmp3lame"),
    "mp4 with flac": Kind("mp4", "flac"),
    "mov with pcm": Kind("mov", "pcm_s16be", 44_100),
    "mov with ima4": Kind("mov", "adpcm_ima_qt", 44_100),
    "caf with alac": Kind("caf", "alac", 44_100),
    "caf with pcm": Kind("caf", "pcm_s16le", 44_100),
    "caf with float": Kind("caf", "pcm_f32be", 44_100),
    "caf with ima4": Kind("caf", "adpcm_ima_qt", 44_100),
    "aiff": Kind("aiff", "pcm_s16be", 44_100),
    "aiff with 24 bits": Kind("aiff", "pcm_s24be", 44_100),
    "aifc with float": Kind("aiff", "pcm_f32be", 44_100),
    "aifc with mu-law": Kind("aiff", "pcm_mulaw", 8_000),
    "wma 1": Kind("asf", "wmav1", 44_100),
    "wma 2": Kind("asf", "wmav2", 44_100),
    "mp2": Kind("mp2", "mp2"),
    "au": Kind("au", "pcm_s16be"),
    "au with mu-law": Kind("au", "pcm_mulaw", 8_000),
    "wavpack": Kind("wv", "wavpack"),
    "w64": Kind("w64", "pcm_s16le"),
    "ogg with flac": Kind("ogg", "flac"),
    "ogg with vorbis": Kind("ogg", "vorbis"),
    "wav with A-law": Kind("wav", "pcm_alaw", 8_000),
    "wav with mu-law": Kind("wav", "pcm_mulaw", 8_000),
    "wav with Microsoft's ADPCM": Kind("wav", "adpcm_ms", 8_000),
    "wav with IMA's ADPCM": Kind("wav", "adpcm_ima_wav", 8_000),
    "wav with Yamaha's ADPCM": Kind("wav", "adpcm_yamaha", 8_000),
    "wav with G.726": Kind("wav", "g726", 8_000),
    "wav with mp3": Kind("wav", "libmp3lame"),
    "wav with 64 bits": Kind("wav", "pcm_s64le"),
    "g722": Kind("g722", "g722", 16_000, hint="g722"),
    "telephony: bare mu-law": Kind("mulaw", "pcm_mulaw", 8_000, hint="ulaw"),
    "telephony: bare A-law": Kind("alaw", "pcm_alaw", 8_000, hint="audio/PCMA"),
}
"""Who records so -> how, where libav can write it."""

RECORDED = {
    "speex": "tone.spx",
    "speex, wideband": "tone-wide.spx",
    "amr, wideband": "tone.awb",
    "wav with GSM (wav49), and a byte too many": "tone-gsm.wav",
    "raw gsm": "tone.gsm",
}
"""What libav can't write: a tone of a second, from the codecs' own tools."""


class Pipe:
    """Takes what is written, in its order."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, more: bytes) -> int:
        self.content += more
        return len(more)

    def getvalue(self) -> bytes:
        return bytes(self.content)


REPACKED = {"Android: 3gp with amr, wideband": ("amr, wideband", "amr", "3gp")}
"""What libav can't encode, but put into another container: of which recording, from what, into what."""


EVERY = sorted({**RECORDERS, **RECORDED, **REPACKED})
"""All of them."""


@cache
def recording(name: str, *, seconds: float = 1.0, layout: str = "mono", piped: bool = False) -> bytes:
    """A tone as a recorder writes it, or as it does so to a pipe."""
    if name in REPACKED:
        source, *containers = REPACKED[name]
        return repacked(recording(source), *containers)
    if name in RECORDED:
        return (Path(__file__).parent / "recorded" / RECORDED[name]).read_bytes()
    kind = RECORDERS[name]
    return written(
        tone(seconds, kind.rate)[np.newaxis].repeat(2 if layout == "stereo" else 1, axis=0),
        kind.container,
        kind.codec,
        rate=kind.rate,
        options=kind.options,
        piped=piped,
    )


def hint_of(name: str) -> str:
    """What a producer must call it; nothing where the content tells."""
    return "gsm" if name == "raw gsm" else RECORDERS[name].hint if name in RECORDERS else ""


def tone(seconds: float, rate: int, *, hertz: float = 440.0) -> npt.NDArray[np.float32]:
    """A sine wave of amplitude 0.3."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def audio_file(
    name: str,
    *,
    seconds: float = 1.0,
    rate: int = 16_000,
    layout: str = "mono",
    codec: str | None = None,
    hertz: float = 440.0,
) -> bytes:
    """A tone as a file; the same in all channels."""
    container, default_codec = FILES[name]
    channels = np.repeat(
        tone(seconds, rate, hertz=hertz)[np.newaxis], av.AudioLayout(layout).nb_channels, axis=0
    )
    return written(channels, container, codec or default_codec, rate=rate, layout=layout)


def written(
    channels: npt.NDArray[np.float32],
    container_name: str,
    codec: str,
    *,
    rate: int,
    layout: str | None = None,
    options: dict[str, str] | None = None,
    piped: bool = False,
) -> bytes:
    """Samples [channels, T] as a file."""
    layout = layout or ("mono" if len(channels) == 1 else "stereo")
    buffer = Pipe() if piped else io.BytesIO()
    with av.open(buffer, "w", format=container_name, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        if codec == "vorbis":  # libav's own encoder is an experiment, and for two channels alone
            stream.layout = layout = "stereo"
            channels = np.repeat(channels[:1], 2, axis=0)
            stream.codec_context.options = {"strict": "experimental"}
        if codec in _BIT_RATES:
            stream.bit_rate = _BIT_RATES[codec]
        stream.codec_context.open(strict=False)
        resampler = av.AudioResampler(
            stream.format.name, layout, rate, frame_size=stream.codec_context.frame_size or 1_024
        )
        interleaved = np.ascontiguousarray(channels.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = rate
        frame.pts, frame.time_base = 0, Fraction(1, rate)
        for ready in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(ready))
    return buffer.getvalue()


def repacked(body: bytes, source: str, container: str) -> bytes:
    """The same packets in another container."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(body), "r", format=source) as given,
        av.open(buffer, "w", format=container) as made,
    ):
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.dts is not None:  # the last one only flushes a decoder
                packet.stream = stream
                made.mux(packet)
    return buffer.getvalue()


def loudest_hertz(samples: npt.NDArray[np.float32]) -> float:
    """The frequency of the strongest component."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * 16_000 / len(samples))
