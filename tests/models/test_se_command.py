"""`python -m rpcb_models.se` writes enhanced recordings, and says in one line what it can't do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.__main__ import main
from rpcb_models.se.enhancer import SMALL_DEMUCS
from rpcb_models.se.wav import wav_bytes
from tests.models.sounds import audio_file

ROOT = Path(__file__).parents[2]
CLIP = recordings()[1]


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    clip = read_audio(CLIP.path.read_bytes())
    noise = np.random.default_rng(1).normal(scale=0.01, size=len(clip)).astype(np.float32)
    file = tmp_path / "noisy.wav"
    file.write_bytes(wav_bytes(clip + noise))
    return file


def written(file: Path) -> Samples:
    return read_audio(file.read_bytes())


def test_each_file_gets_an_enhanced_one_beside_it(noisy: Path) -> None:
    other = noisy.with_name("other.mp3")
    other.write_bytes(audio_file("mp3", seconds=2.0, rate=44_100))
    assert main([str(noisy), str(other)]) == 0
    assert len(written(noisy.with_name("noisy.enhanced.wav"))) == len(written(noisy))
    assert written(other.with_name("other.enhanced.wav")).size == pytest.approx(2 * SAMPLE_RATE, abs=3000)


def test_the_output_may_be_a_directory_that_is_not_there_yet(noisy: Path, tmp_path: Path) -> None:
    assert main([str(noisy), "--output", str(tmp_path / "a" / "b")]) == 0
    assert (tmp_path / "a" / "b" / "noisy.enhanced.wav").is_file()


def test_models_batch_sizes_and_shares_are_options(noisy: Path, tmp_path: Path) -> None:
    second = noisy.with_name("second.wav")
    second.write_bytes(audio_file("wav", seconds=0.5))
    files = [str(noisy), str(second)]
    demucs = ["--model", "demucs", "--checkpoint", str(SMALL_DEMUCS)]
    assert main([*files, *demucs, "--output", str(tmp_path / "one"), "--batch-size", "1"]) == 0
    assert main([*files, *demucs, "--output", str(tmp_path / "two")]) == 0
    one, two = (written(tmp_path / name / "noisy.enhanced.wav") for name in ("one", "two"))
    np.testing.assert_allclose(one, two, atol=1 / 2**15)
    assert main([*files, "--dry", "1", "--output", str(tmp_path / "dry")]) == 0
    np.testing.assert_allclose(
        written(tmp_path / "dry" / "noisy.enhanced.wav"), written(noisy), atol=1 / 2**15
    )


def test_a_wrong_file_is_one_line_and_the_others_are_still_done(
    noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = noisy.with_name("wrong.wav")
    wrong.write_bytes(b"no sound")
    missing = noisy.with_name("missing.wav")
    assert main([str(wrong), str(missing), str(noisy)]) == 1
    assert noisy.with_name("noisy.enhanced.wav").is_file()
    lines = [line for line in capsys.readouterr().err.splitlines() if ".wav" in line]
    assert [line.partition(": ")[0] for line in lines] == [str(wrong), str(missing)]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "no files"),
        (["a.wav", "--model", "dtnl"], "model is dtnl"),
        (["a.wav", "--dry", "2"], "dry is 2"),
        (["a.wav", "--batch-size", "0"], "batch-size is 0"),
        (["a.wav", "--threads", "0"], "threads is 0"),
        (["a.wav", "--device", "cuda:99"], "device is cuda:99"),
        (["a.wav", "--model", "demucs", "--checkpoint", "gone.th"], "gone.th"),
        (["a.wav", "--speed", "3"], "--speed"),
        (["a.wav", "a.mp3"], "both be written"),
    ],
)
def test_a_wrong_setting_is_one_line_before_anything_is_done(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    line = capsys.readouterr().err
    assert named in line
    assert line.count("\n") == 1


def test_the_command_is_there(noisy: Path) -> None:
    command = [sys.executable, "-m", "rpcb_models.se", str(noisy)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert noisy.with_name("noisy.enhanced.wav").is_file()
