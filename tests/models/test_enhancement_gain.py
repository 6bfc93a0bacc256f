"""Noisy speech is the same every time, and enhancement makes it cleaner by what is claimed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benches import enhancement
from rpcb_models.audio import SAMPLE_RATE
from rpcb_models.noise import NOISES, SNRS, NoisyClip, mixed, noisy_clips, si_sdr
from rpcb_models.se import Demucs, Dtln, Enhancer
from tests.models.sounds import tone


@pytest.fixture(scope="module")
def clips() -> list[NoisyClip]:
    """Five recordings under all noises at all strengths."""
    return list(noisy_clips(every=6))


def gain(enhancer: Enhancer, clips: list[NoisyClip]) -> float:
    """The mean, in dB of SI-SDR."""
    enhanced = enhancer.enhance([clip.noisy for clip in clips])
    return float(
        np.mean(
            [
                si_sdr(clip.clean, output) - si_sdr(clip.clean, clip.noisy)
                for clip, output in zip(clips, enhanced, strict=True)
            ]
        )
    )


def test_dtln_makes_noisy_speech_at_least_6_db_cleaner(clips: list[NoisyClip]) -> None:
    assert gain(Dtln(), clips) >= 6


def test_the_small_demucs_makes_noisy_speech_cleaner(clips: list[NoisyClip]) -> None:
    assert gain(Demucs(), clips[::2]) >= 3


def test_a_set_has_each_recording_under_each_noise_at_each_strength(clips: list[NoisyClip]) -> None:
    assert len(clips) == 5 * len(NOISES) * len(SNRS)
    for clip in clips:
        power = np.mean(clip.clean**2) / np.mean((clip.noisy - clip.clean) ** 2)
        assert 10 * np.log10(power) == pytest.approx(clip.snr, abs=0.01)


def test_a_clips_noise_is_the_same_whatever_else_is_asked_for(clips: list[NoisyClip]) -> None:
    [*again] = noisy_clips(["babble"], [5], every=12)
    same = [clip for clip in clips if (clip.noise, clip.snr) == ("babble", 5)][::2]
    for one, other in zip(again, same, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.noisy, other.noisy)
    [first, *_] = noisy_clips(["babble"], [5], every=12, seed=1)
    assert not np.array_equal(first.noisy, again[0].noisy)


def test_the_noises_differ_in_their_spectra(clips: list[NoisyClip]) -> None:
    def low_share(noise: str) -> float:
        clip = next(clip for clip in clips if clip.noise == noise)
        power = np.abs(np.fft.rfft(clip.noisy - clip.clean)) ** 2
        return float(power[: len(power) // 8].sum() / power.sum())

    white, pink, hum, babble = map(low_share, NOISES)
    assert white == pytest.approx(1 / 8, abs=0.03)
    assert white < pink < hum
    assert babble > white


def test_a_noise_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="no noise rain"):
        next(noisy_clips(["rain"]))


def test_si_sdr_is_the_signals_share_at_any_volume() -> None:
    clean = tone(1.0, SAMPLE_RATE)
    noise = tone(1.0, SAMPLE_RATE, hertz=1000)
    noisy = mixed(clean, noise, 7)
    assert si_sdr(clean, noisy) == pytest.approx(7, abs=0.01)
    assert si_sdr(clean, noisy * np.float32(0.1)) == pytest.approx(7, abs=0.01)


def test_the_bench_prints_and_writes_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, plot = tmp_path / "deep" / "results.json", tmp_path / "chart.png"
    enhancement.main(models=("dtln",), every=25, json=results, plot=plot)
    found = json.loads(results.read_text())["results"]
    assert [(each["noise"], each["snr"]) for each in found] == [(n, snr) for n in NOISES for snr in SNRS]
    for each in found:
        assert each["before"] == pytest.approx(each["snr"], abs=0.5)
        assert each["gain"] == pytest.approx(each["after"] - each["before"])
    assert plot.stat().st_size > 0
    assert "dtln gain" in capsys.readouterr().out
