"""A transcript in each of the formats that OpenAI's clients ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import msgspec

from rpcb_trio._gateway._faces._transcripts import Segment, Transcript

ARROW = "-->"
"""Parts a cue's times; in its text it would begin another cue."""
LIKE_AN_ARROW = re.compile("-{2,}>")

UNTOLD: dict[str, Any] = {
    "seek": 0,
    "tokens": [],
    "temperature": 0.0,
    "avg_logprob": 0.0,
    "compression_ratio": 0.0,
    "no_speech_prob": 0.0,
}
"""What Whisper tells of a segment, and recognisers here do not; its clients read these fields."""


def as_json(transcript: Transcript) -> bytes:
    """The text, and how long the audio is where that is known."""
    return msgspec.json.encode({"text": transcript.text} | _usage(transcript))


def as_verbose_json(transcript: Transcript) -> bytes:
    """All that is known."""
    return msgspec.json.encode(
        {
            "task": "transcribe",
            "language": transcript.language or "unknown",
            "duration": transcript.end,
            "text": transcript.text,
            "segments": [
                {"id": number, "start": each.start, "end": each.end, "text": each.text} | UNTOLD
                for number, each in enumerate(transcript.timed)
            ],
            **_usage(transcript),
        }
    )


def as_text(transcript: Transcript) -> bytes:
    """The text, and a line's end."""
    return f"{transcript.text}\n".encode()


def as_srt(transcript: Transcript) -> bytes:
    """SubRip."""
    return _cues(transcript.timed, ",", lambda number: f"{number}\n").encode()


def as_vtt(transcript: Transcript) -> bytes:
    """WebVTT (W3C)."""
    return f"WEBVTT\n\n{_cues(transcript.timed, '.', lambda _: '', is_markup=True)}".encode()


def _cues(
    segments: Sequence[Segment], point: str, head: Callable[[int], str], *, is_markup: bool = False
) -> str:
    cues = []
    for number, each in enumerate(segments, 1):
        text = LIKE_AN_ARROW.sub("->", " ".join(each.text.split()))  # an empty line would end the cue
        times = f"{_clock(each.start, point)} {ARROW} {_clock(each.end, point)}"
        cues.append(f"{head(number)}{times}\n{escape(text, quote=False) if is_markup else text}\n\n")
    return "".join(cues)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _usage(transcript: Transcript) -> dict[str, Any]:
    seconds = transcript.duration
    return {} if seconds is None else {"usage": {"type": "duration", "seconds": seconds}}
