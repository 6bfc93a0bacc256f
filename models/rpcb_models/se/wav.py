"""Samples -> a wav file that any player and the producers' Java side read."""

from __future__ import annotations

import io
import wave

import numpy as np

from rpcb_models.audio import SAMPLE_RATE, Samples


def wav_bytes(samples: Samples) -> bytes:
    """A wav file of 16 kHz, mono, PCM16.

    Args:
        samples: float32 [T]; what is beyond -1 and 1 is clipped.
    """
    scaled = np.rint(samples * 2**15).clip(-(2**15), 2**15 - 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(scaled.astype("<i2").tobytes())
    return buffer.getvalue()
