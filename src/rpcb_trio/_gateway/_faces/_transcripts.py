"""What a recogniser's reply says: the text, and when its parts were spoken."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from rpcb_trio._gateway._problems import Problem

TEXTS = ("text", "sentence")
"""Fields of a reply that hold the text; the second is rabbit-rpc-batch's."""

LONGEST = 1e7
"""Seconds that a recording may be said to have."""

WAV_HEADER = 44
"""Bytes before the sound of a plain wav file."""


class Segment(msgspec.Struct, frozen=True):
    """What was said from when to when, in seconds from the audio's beginning."""

    start: float
    end: float
    text: str

    def __post_init__(self) -> None:
        """Refuse times that no clock shows."""
        if not 0 <= self.start <= self.end <= LONGEST:
            raise ValueError(f"a segment lasts from {self.start} to {self.end}")


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in a recording."""

    text: str
    segments: tuple[Segment, ...] | None = None
    """None where the recogniser tells no times."""
    duration: float | None = None
    """Seconds of the whole recording, where that is known."""
    language: str = ""

    @property
    def end(self) -> float:
        """Seconds: how long the recording is, as far as that is known."""
        last = self.segments[-1].end if self.segments else 0.0
        return last if self.duration is None else max(self.duration, last)

    @property
    def timed(self) -> Sequence[Segment]:
        """The segments; where no times are told, the whole recording is one."""
        if self.segments is not None:
            return self.segments
        return (Segment(0.0, self.end, self.text),) if self.text else ()


def transcript_of(answer: Any, *, audio: bytes, language: str) -> Transcript:
    """The transcript in a recogniser's answer: a text, or a map that has one.

    Args:
        answer: decoded.
        audio: the file; a wav tells its length.
        language: that the client has named, or nothing.

    Raises:
        Problem: 502, there is none.
    """
    whole = answer if isinstance(answer, dict) else {}
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    if whole:
        text = next((whole[name] for name in TEXTS if name in whole), None)
    if not isinstance(text, str):
        raise _bad_reply(f"it has no {' or '.join(TEXTS)}")
    try:
        segments = msgspec.convert(whole.get("segments"), tuple[Segment, ...] | None)
    except (ValueError, OverflowError) as error:
        raise _bad_reply(f"its segments: {error}") from error
    told = whole.get("language")
    return Transcript(
        text=text,
        segments=segments,
        duration=_seconds(whole.get("duration")) or wav_seconds(audio),
        language=told if isinstance(told, str) else language,
    )


def wav_seconds(audio: bytes) -> float | None:
    """How long a plain wav file is; None for what is none."""
    try:
        with wave.open(io.BytesIO(audio)) as file:
            frames, rate = file.getnframes(), file.getframerate()
            size = file.getnchannels() * file.getsampwidth()
    except (wave.Error, EOFError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if rate <= 0 or size <= 0:
        return None
    # A file that was written as it came in may promise more than it has.
    seconds: float = min(frames, (len(audio) - WAV_HEADER) // size) / rate
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= LONGEST else None


def _bad_reply(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", f"the reply holds no transcript: {why}")
