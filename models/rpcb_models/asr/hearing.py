"""Recordings of any length -> what is said in them, and when; nothing where nobody speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.asr.segments import Segment, spoken, whole
from rpcb_models.asr.voice_activity import VoiceActivity
from rpcb_models.audio import SAMPLE_RATE, Samples

_BETWEEN_WORDS = re.compile(r"\W+")


@dataclass(frozen=True)
class Said:
    """What a segment's text is, and from when to when, in seconds from the recording's beginning."""

    start: float
    end: float
    text: str


class Hearing:
    """A recogniser behind a gate for speech. Used from several threads at once; loads nothing by itself.

    Args:
        recogniser: What hears the words.
        gate: Whether only what is speech is passed on to it.
    """

    def __init__(self, recogniser: Recogniser, *, gate: bool = True) -> None:
        self.recogniser = recogniser
        self._activity = VoiceActivity() if gate else None

    def load(self) -> None:
        """Read the models; later calls do nothing.

        Raises:
            rpcb_trio.SettingError: as `Recogniser.load`.
        """
        if self._activity is not None:
            self._activity.load()
        self.recogniser.load()

    def segments(self, clip: Samples) -> list[Segment]:
        """Find what is to be recognised in a recording (float32 [T], mono, 16 kHz, any length), in order."""
        if self._activity is None:
            return whole(clip)
        return spoken(clip, self._activity.stretches(clip))

    def hear(self, recordings: Sequence[Sequence[Segment]]) -> list[list[Said]]:
        """Recognise the segments of several recordings as one batch; those without words are left out."""
        clips = [segment.samples for recording in recordings for segment in recording]
        texts = iter(self.recogniser.transcribe(clips) if clips else [])
        return [list(self._said(recording, islice(texts, len(recording)))) for recording in recordings]

    def _said(self, recording: Sequence[Segment], texts: Iterator[str]) -> Iterator[Said]:
        for segment, text in zip(recording, texts, strict=True):
            if text and (segment.sure or not self._is_filler(text)):
                start = segment.start / SAMPLE_RATE
                yield Said(round(start, 3), round(start + segment.seconds, 3), text)

    def _is_filler(self, text: str) -> bool:
        words = " ".join(_BETWEEN_WORDS.sub(" ", text.lower()).split())
        return words in getattr(self.recogniser, "unspoken", ())
