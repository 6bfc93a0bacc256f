"""An audio file's bytes -> samples, each in a process of its own that the system keeps small.

libav decodes what strangers send, in C, and believes what they write. A file can therefore cost no more than
its decoder's process: not this process's memory, not its time, not its life. The processes are kept and used
again, one for each thread that reads.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Generator
from typing import Final

from rpcb_models.audio._decoder import Decoder
from rpcb_models.audio._errors import empty, unparseable
from rpcb_models.audio._samples import Samples, joined
from rpcb_models.decoding.protocol import MOST_HINT

MAX_SECONDS: Final = 120.0
"""The longest clip by default, in seconds: 7.7 MB of samples."""
MAX_BYTES: Final = 64 * 2**20
"""The largest file by default, in bytes."""
DECODE_MEMORY: Final = 256
"""How much a decoder may allocate for one file by default, in MiB; a usual one takes 20."""

_idle: list[Decoder] = []


def read_audio(
    body: bytes,
    hint: str | None = None,
    *,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
    decode_memory: int = DECODE_MEMORY,
) -> Samples:
    """Read an audio file: what browsers, phones and telephone systems record.

    That is wav (PCM, float, A-law, mu-law, ADPCM, GSM), mp3, mp2, aac (ADTS), m4a, mp4, 3gp and mov (aac,
    alac, amr, ...), flac, ogg (opus, vorbis, flac, speex), webm and mka, amr, caf, aiff, wma, au, wavpack,
    g722, gsm, and a telephone line's bare mu-law or A-law. Any sample rate and channel count will do;
    channels are averaged, or the loudest is taken where they cancel each other. The content decides what the
    file is; the hint counts only where the content can't tell.

    Args:
        body: The whole file.
        hint: The format's name as its producer gave it; g722, gsm, ulaw and alaw need it, having no mark of
            their own.
        max_seconds: The longest audio allowed, in seconds.
        max_bytes: The largest file allowed, in bytes.
        decode_memory: How much the decoder may allocate, in MiB, besides the file and its samples.

    Returns:
        float32 [T], mono, 16 kHz, at least one sample.

    Raises:
        AudioError: 408 when empty or silent, 402 when of no format served here, 403 when it can't be parsed,
            is cut short (where the format tells its length) or exceeds a limit.
        ServiceError: no decoder can be started: the system has no process, descriptor or memory for it.
    """
    blocks = list(
        audio_blocks(body, hint, max_seconds=max_seconds, max_bytes=max_bytes, decode_memory=decode_memory)
    )
    return joined(blocks)


def audio_blocks(
    body: bytes,
    hint: str | None = None,
    *,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
    decode_memory: int = DECODE_MEMORY,
) -> Generator[Samples]:
    """Read an audio file as `read_audio`, in blocks of 8 s at most, so that an hour takes no more memory.

    Its decoder waits until a block is taken. What has come is not to be used where an error comes after it.
    Close it where it is not read to its end.
    """
    if not body:
        raise empty("the audio is empty")
    if len(body) > max_bytes:
        raise unparseable(f"the audio has {len(body)} bytes; {max_bytes} are allowed (max_bytes)")
    decoder = _taken()
    try:
        blocks = decoder.blocks(body, (hint or "")[:MOST_HINT], max_seconds, decode_memory << 20)
        del body
        yield from blocks
    finally:
        if decoder.is_spent:
            decoder.end()
        else:
            _idle.append(decoder)


def _taken() -> Decoder:
    """A process that waits, or a new one."""
    while True:
        try:
            decoder = _idle.pop()
        except IndexError:
            return Decoder()
        if decoder.is_alive:  # somebody else may have ended it
            return decoder
        decoder.end()


def _end_all() -> None:
    while _idle:
        _idle.pop().end()


def _forget_all() -> None:
    """In a fork: two processes can't talk to one decoder."""
    while _idle:
        _idle.pop().let_go()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget_all)
