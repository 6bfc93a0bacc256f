"""What is said between a worker and a decoder's process, over a socket that nobody else has."""

from __future__ import annotations

import struct
from typing import Final

SAMPLE_RATE: Final = 16_000
"""Of all samples, in Hz."""

SILENCE: Final = 1e-4
"""No sample of silence is louder; a 16-bit recording of a quiet room is."""

READY: Final = b"\n"
"""The process's first byte: it can decode."""

REQUEST: Final = struct.Struct("<QHdQ")
"""Bytes of the recording, bytes of the hint, longest audio in seconds, memory in bytes. The hint (UTF-8) and
the recording follow."""

REPLY: Final = struct.Struct("<H?Q")
"""A status, whether the process has grown and should be replaced, bytes that follow: with MORE and DONE
float32 samples, else the reason (UTF-8). There is a reply for each block of samples."""

MORE: Final = 100
"""Other blocks follow, or the reason why none of them is to be used."""
DONE: Final = 200
"""This is the last block."""
UNSUPPORTED: Final = 402
UNPARSEABLE: Final = 403
EMPTY: Final = 408

MOST_HINT: Final = 40
"""Characters of a hint that count."""

MOST_REASON: Final = 1_600
"""Bytes of a reason."""


BLOCK_SECONDS: Final = 8
"""A block is no longer."""

MOST_BLOCK: Final = BLOCK_SECONDS * SAMPLE_RATE * 4
"""Bytes of a block."""


def most_sample_bytes(max_seconds: float) -> int:
    """All blocks' samples, in bytes: what is allowed, and a second for the resampler's rounding."""
    return round((max_seconds + 1) * SAMPLE_RATE) * 4


def most_processor_seconds(max_seconds: float) -> float:
    """Seconds of a processor that a recording may take; a slow codec takes 1 ms for a second of audio."""
    return 10 + max_seconds / 100
