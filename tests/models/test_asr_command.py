"""`python -m rpcb_models.asr FILE...`: a text for each recording, one line for each thing that goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rpcb_models.asr.__main__ import main
from rpcb_models.audio import SAMPLE_RATE, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.wav import wav_bytes
from tests.models.nemo_files import DATA
from tests.models.sounds import audio_file

ROOT = Path(__file__).parents[2]
SMALL = str(ROOT / "models" / "rpcb_models" / "asr" / "quartznet_prompts.nemo")
FILES = [str(clip.path) for clip in recordings()[:4]]
QUARTZNET = ["--recogniser", "quartznet", "--checkpoint", SMALL]


def test_one_recording_gives_its_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FILES[1]]) == 0
    assert capsys.readouterr().out == "All circuits are busy now.\n"


@pytest.mark.parametrize("size", ["1", "3", "16"])
def test_several_recordings_give_a_line_each_in_their_order(
    capsys: pytest.CaptureFixture[str], size: str
) -> None:
    assert main([*FILES, *QUARTZNET, "--batch-size", size]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == FILES
    assert "followed by" in lines[0].partition("\t")[2]


def test_times_give_a_line_for_each_stretch_of_speech(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (read_audio(Path(file).read_bytes()) for file in (FILES[1], FILES[0]))
    apart = np.concatenate((one, np.zeros(6 * SAMPLE_RATE, np.float32), other))
    (tmp_path / "two.wav").write_bytes(wav_bytes(apart))
    assert main([str(tmp_path / "two.wav"), "--times"]) == 0
    first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert float(first[0]) == 0.0
    assert 6.0 < float(second[0]) < float(second[1])
    assert first[2] == "All circuits are busy now."


def test_a_language_model_mends_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    (leader,) = [str(clip.path) for clip in recordings() if clip.name == "asterisk-conf-leaderhasleft"]
    assert main([leader, *QUARTZNET]) == 0
    assert main([leader, *QUARTZNET, "--lm", str(DATA / "lm_prompts_bigram.arpa")]) == 0
    greedy, mended = capsys.readouterr().out.splitlines()
    assert greedy != mended == "the leader has left the conference"


def test_log_probabilities_are_written_under_the_recordings_names(tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    again = twin / Path(FILES[0]).name
    again.write_bytes(Path(FILES[0]).read_bytes())
    output = tmp_path / "out.npz"
    assert main([*FILES[:2], str(again), *QUARTZNET, "--log-probs", str(output)]) == 0
    arrays = np.load(output)
    assert sorted(arrays) == sorted([FILES[0], str(again), Path(FILES[1]).stem])
    assert arrays[FILES[0]].dtype == np.float32
    assert arrays[FILES[0]].shape[1] == 29
    np.testing.assert_allclose(arrays[FILES[0]], arrays[str(again)], atol=1e-3)


def test_what_cannot_be_read_is_one_line_each_and_the_others_are_transcribed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, silent, missing = tmp_path / "no.wav", tmp_path / "silent.wav", tmp_path / "missing.wav"
    wrong.write_bytes(b"no audio")
    silent.write_bytes(audio_file("wav", hertz=0.0))
    assert main([str(wrong), str(silent), FILES[1], str(missing), *QUARTZNET]) == 1
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    lines = [line for line in shown.err.splitlines() if line.startswith(str(tmp_path))]
    assert [line.partition(":")[0] for line in lines] == [str(wrong), str(silent), str(missing)]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "no files are given"),
        ([FILES[0], "--batch-size", "0"], "batch-size is 0"),
        ([FILES[0], "--log-probs", "out.npz"], "moonshine has no log-probabilities"),
        ([FILES[0], *QUARTZNET, "--log-probs", "out.npz", "--times"], "leave --times out"),
        ([FILES[0], "--recogniser", "whisper"], "moonshine or quartznet"),
        ([FILES[0], "--recogniser", "quartznet"], "needs a checkpoint"),
        ([FILES[0], "--checkpoint", SMALL], "checkpoint is for quartznet"),
        ([FILES[0], "--device", "cuda:9"], "no CUDAExecutionProvider"),
        ([FILES[0], "--device", "tpu"], "moonshine runs on cpu or cuda:N"),
        ([FILES[0], *QUARTZNET, "--device", "cuda:99"], "device is cuda:99"),
        ([FILES[0], *QUARTZNET, "--lm", "missing.arpa"], "missing.arpa"),
        ([FILES[0], *QUARTZNET, "--log-probs", "no/such/folder.npz"], "no/such/folder.npz"),
        ([FILES[0], "--recogniser", "quartznet", "--checkpoint", "missing.nemo"], "missing.nemo"),
        ([FILES[0], "--no-such-option"], "no-such-option"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert named in lines[0]


def test_it_stops_without_a_word_when_its_reader_has_seen_enough() -> None:
    line = [sys.executable, "-m", "rpcb_models.asr", *FILES, *QUARTZNET, "--batch-size", "1"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        command.stdout.close()
        assert command.stderr is not None
        assert command.stderr.read() == b""


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rpcb_models.asr", FILES[1], *QUARTZNET],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "busy" in done.stdout
    assert done.stderr == ""
