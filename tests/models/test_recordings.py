"""The shipped recordings are what their list says."""

from __future__ import annotations

import wave

from rpcb_models.recordings import recordings


def test_every_recording_is_a_wav_of_16_kilohertz_with_its_text() -> None:
    for clip in recordings():
        with wave.open(str(clip.path), "rb") as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            assert 1.5 <= file.getnframes() / 16_000 <= 8
        assert len(clip.text.split()) >= 3


def test_every_shipped_file_is_listed_once() -> None:
    clips = recordings()
    folder = clips[0].path.parent
    assert sorted(clip.path for clip in clips) == sorted(folder.glob("*.wav"))
    assert sum(clip.path.stat().st_size for clip in clips) < 4_000_000


def test_both_sources_are_there_and_attributed() -> None:
    clips = recordings()
    sources = [clip.name.partition("-")[0] for clip in clips]
    assert sources.count("librivox") == 5
    assert sources.count("asterisk") == 20
    licences = (clips[0].path.parent / "README.md").read_text("utf-8")
    for needed in (
        "Allison Smith",
        "Digium",
        "creativecommons.org/licenses/by-sa/3.0",
        "modified",
        "LibriVox",
    ):
        assert needed in licences
