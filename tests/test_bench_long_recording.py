"""The bench of a long recording sends what it says, and finds what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from benches import long_recording
from rpcb_models.asr import SpeechRecognition
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio


class Counts:
    """A recogniser that hears nothing."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def load(self) -> None: ...

    def transcribe(self, clips: list[Samples]) -> list[str]:
        self.seconds += sum(map(len, clips)) / SAMPLE_RATE
        return [""] * len(clips)


def test_a_long_recording_is_sent_beside_short_clips_and_both_are_measured(tmp_path: Path) -> None:
    chosen, path = long_recording.spoken(1.0, seed=3), tmp_path / "long.ogg"
    assert chosen == long_recording.spoken(1.0, seed=3)
    long_recording.write(path, long_recording.parts_of(chosen, seed=3))
    audio = path.read_bytes()
    assert len(read_audio(audio)) / SAMPLE_RATE == pytest.approx(64, abs=4)
    recogniser = Counts()
    service = SpeechRecognition(recogniser, speech_only=False)
    found = trio.run(long_recording.measure, service, audio, chosen, 1.0, 25)
    assert recogniser.seconds > 60
    assert len(found.short_alone) == 25
    assert found.words_wrong == found.words_wrong_one_by_one == 1.0
    assert found.seconds > 0
    assert found.growth >= 0
