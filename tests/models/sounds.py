"""Audio files made on the spot, in any format a producer may send."""

from __future__ import annotations

import io
from fractions import Fraction

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
    container_name, default_codec = FILES[name]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name) as container:
        stream = container.add_stream(codec or default_codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        resampler = av.AudioResampler(
            stream.format.name, layout, rate, frame_size=stream.codec_context.frame_size or None
        )
        samples = tone(seconds, rate, hertz=hertz)
        interleaved = np.repeat(samples, stream.layout.nb_channels)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = rate
        frame.pts, frame.time_base = 0, Fraction(1, rate)
        for ready in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(ready))
    return buffer.getvalue()


def loudest_hertz(samples: npt.NDArray[np.float32]) -> float:
    """The frequency of the strongest component."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * 16_000 / len(samples))
