"""What is heard of several channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from tests.models.sounds import loudest_hertz, tone, written

SPEECH = "models/rpcb_models/recordings/librivox-0870.wav"


def heard(*channels: Samples, container: str = "wav", codec: str = "pcm_s16le") -> Samples:
    return read_audio(written(np.stack(channels), container, codec, rate=16_000))


@pytest.fixture(scope="module")
def speech() -> Samples:
    return read_audio(Path(SPEECH).read_bytes())


@pytest.mark.parametrize("gain", [-1.0, -0.9, -0.75])
@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ipod", "aac")]
)
def test_a_channel_that_is_the_other_inverted_does_not_silence_it(
    speech: Samples, gain: float, container: str, codec: str
) -> None:
    alone = heard(speech, container=container, codec=codec)
    together = heard(speech, gain * speech, container=container, codec=codec)
    assert abs(np.corrcoef(alone, together[: len(alone)])[0, 1]) > 0.98  # nobody hears which way round
    assert np.square(together).mean() > 0.8 * np.square(alone).mean()


def test_a_part_that_is_inverted_is_heard_as_well(speech: Samples) -> None:
    second = speech.copy()
    second[SAMPLE_RATE : 2 * SAMPLE_RATE] *= -1
    np.testing.assert_allclose(heard(speech, second), speech, atol=1e-3)


def test_the_louder_of_two_that_cancel_each_other_is_taken(speech: Samples) -> None:
    np.testing.assert_allclose(heard(-0.8 * speech, speech), speech, atol=1e-3)


def test_equal_channels_are_heard_as_one_of_them(speech: Samples) -> None:
    np.testing.assert_allclose(heard(speech, speech), speech, atol=1e-3)


def test_two_who_speak_on_a_channel_each_are_both_heard() -> None:
    low, high = tone(1.0, 16_000, hertz=300), tone(1.0, 16_000, hertz=1_000)
    np.testing.assert_allclose(heard(low, high), (low + high) / 2, atol=1e-3)


def test_one_silent_channel_leaves_the_other(speech: Samples) -> None:
    np.testing.assert_allclose(heard(speech, 0 * speech), speech / 2, atol=1e-3)


@pytest.mark.parametrize("hertz", [300, 440, 1_000])
def test_a_recording_whose_rate_or_channels_change_is_read_on(hertz: int) -> None:
    parts = [
        written(np.stack([tone(1.0, rate, hertz=hertz)] * channels), "mp3", "libmp3lame", rate=rate)
        for rate, channels in ((44_100, 2), (22_050, 1))
    ]
    samples = read_audio(b"".join(parts), "mp3")
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.3)
    assert loudest_hertz(samples[-SAMPLE_RATE // 2 :]) == pytest.approx(hertz, abs=5)
