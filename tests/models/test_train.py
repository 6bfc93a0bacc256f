"""What the recipe promises, shown on the shipped recordings and small networks."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rpcb_models.asr.quartznet import QuartzNet
from rpcb_models.asr.quartznet._loading import load
from rpcb_models.asr.quartznet._network import Network
from rpcb_models.asr.train.__main__ import main
from rpcb_models.asr.train.archive import write_nemo
from rpcb_models.asr.train.batches import padded
from rpcb_models.asr.train.configuration import configuration, untrained
from rpcb_models.asr.train.corpus import Clip, shipped
from rpcb_models.asr.train.evaluation import character_error_rate, transcribed
from rpcb_models.asr.train.labels import LABELS
from rpcb_models.asr.train.recipe import Plan, Training, rate
from rpcb_models.recordings.make import SOUNDS, TEXTS
from rpcb_trio import SettingError
from tests.models.sounds import audio_file

NEMO = Path(__file__).parents[1] / "data" / "nemo"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def clips() -> list[Clip]:
    """The three shortest recordings."""
    return sorted(shipped(""), key=lambda clip: clip.seconds)[:3]


def small_network(seed: int = 0) -> Network:
    config = configuration()
    blocks = config["encoder"]["jasper"]
    config["encoder"]["jasper"] = [blocks[0], blocks[1], blocks[-1]]
    return untrained(config, seed=seed)


def training(*, epochs: int, seed: int = 0) -> Training:
    plan = Plan(epochs=epochs, minutes=1, batch_seconds=4, lr=3e-3, seed=seed)
    return Training(small_network(seed), clips(), plan)


def trained(*, epochs: int, seed: int = 0) -> dict[str, Tensor]:
    course = training(epochs=epochs, seed=seed)
    list(course.steps())
    return course.network.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def unpack_fake_corpus(root: Path, texts: list[str]) -> None:
    """Tones in the place of speech, laid out as Debian's packages are."""
    sounds, listing = (root / path.relative_to("/") for path in (SOUNDS, TEXTS))
    sounds.mkdir(parents=True)
    listing.parent.mkdir(parents=True)
    listing.write_bytes(gzip.compress("\n".join(f"p{i}: {text}" for i, text in enumerate(texts)).encode()))
    for index in range(len(texts)):
        (sounds / f"p{index}.g722").write_bytes(audio_file("g722", seconds=1.0))


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [rate(step / 100) for step in range(101)]
    assert max(rates) == rates[5] == 1
    assert 0 < rates[0] < 0.1
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_window_and_mel_filters_are_those_that_nemo_writes() -> None:
    genuine = load(NEMO / "nemo3_quartznet_tiny_en.nemo", device="cpu", features="3.0").network
    made = untrained(configuration(), seed=0).preprocessor.featurizer
    assert torch.allclose(made.fb, genuine.preprocessor.featurizer.fb, rtol=0, atol=1e-8)
    assert torch.allclose(made.window, genuine.preprocessor.featurizer.window, rtol=0, atol=1e-7)


def test_the_loss_falls_to_a_third_where_three_clips_are_learned_by_heart() -> None:
    losses = [step.loss for step in training(epochs=30).steps()]
    assert sum(losses[-3:]) < sum(losses[:3]) / 3


def test_two_trainings_with_one_seed_give_the_same_weights() -> None:
    weights = trained(epochs=2)
    assert same(weights, trained(epochs=2))
    assert not same(weights, trained(epochs=2, seed=1))


def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    stopped, resumed = training(epochs=3), training(epochs=3)
    steps = stopped.steps()
    taken = [next(steps) for _ in range(4)]
    torch.save(stopped.state(), tmp_path / "state")
    resumed.resume(torch.load(tmp_path / "state", weights_only=True))
    rest = list(resumed.steps())
    assert not taken[-1].ends_epoch
    assert (rest[0].epoch, rest[0].batch) == (taken[-1].epoch, taken[-1].batch + 1)
    assert same(resumed.network.state_dict(), trained(epochs=3))


def test_a_training_with_another_seed_is_not_resumed() -> None:
    with pytest.raises(SettingError, match="seed is 1, but what is to be resumed has 0"):
        training(epochs=1, seed=1).resume(training(epochs=1).state())


def test_what_is_written_is_read_back_and_hears_the_same(tmp_path: Path) -> None:
    network = untrained(configuration(), seed=0)
    assert 560_000 < sum(weights.numel() for weights in network.parameters()) < 575_000
    batch = padded([torch.from_numpy(clip.samples) for clip in clips()], [clip.text for clip in clips()])
    network(batch.audio, batch.lengths)  # so that the normalisation has seen something
    write_nemo(tmp_path / "x.nemo", configuration(), network.eval())
    with torch.inference_mode():
        expected, frames = network(batch.audio, batch.lengths)
    found = QuartzNet(tmp_path / "x.nemo").log_probs([clip.samples for clip in clips()])
    for row, count, log_probs in zip(expected, frames.tolist(), found, strict=True):
        assert log_probs.shape == (count, len(LABELS) + 1)
        assert row[:count].numpy() == pytest.approx(log_probs, abs=1e-5)


def test_clips_are_transcribed_with_an_error_rate() -> None:
    results = transcribed(small_network(), clips())
    assert sorted(each.said for each in results) == sorted(clip.text for clip in clips())
    assert character_error_rate(results) > 0.5


def test_the_command_writes_a_checkpoint_with_a_card_and_goes_on_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpack_fake_corpus(tmp_path, ["Press the one.", "Press the two.", "Goodbye.", "(beep)", "Press 1234."])
    output = tmp_path / "small.nemo"
    command = ["--corpus", str(tmp_path), "--output", str(output)]
    assert main([*command, "--epochs", "1"]) == 0
    assert main([*command, "--epochs", "2", "--resume"]) == 0
    lines = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert lines == ["1", "2"]
    QuartzNet(output).load()
    card = output.with_suffix(".md").read_text("utf-8")
    for needed in (
        "2 telephone prompts",
        "Allison Smith",
        "licenses/by-sa/3.0",
        "not good for",
        "Seed 0",
        "LibriVox",
    ):
        assert needed in card


def test_without_the_prompts_one_line_names_both_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--corpus", str(tmp_path), "--output", str(tmp_path / "x.nemo")]) == 2
    line = capsys.readouterr().err
    assert "apt-get install asterisk-core-sounds-en asterisk-core-sounds-en-g722" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("output", ["weights.pt", "nowhere/x.nemo"])
def test_an_output_that_can_not_be_is_refused_before_the_work(
    tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / output)]) == 2
    assert "give a .nemo file in a folder that is there" in capsys.readouterr().err


def test_a_flag_that_makes_no_sense_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "-1"]) == 2
    line = capsys.readouterr().err
    assert "--minutes" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("state", [None, b"", b"no state"])
def test_what_can_not_be_resumed_is_refused(
    tmp_path: Path, state: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    unpack_fake_corpus(tmp_path, ["Press the one.", "Goodbye."])
    if state is not None:
        (tmp_path / "x.state").write_bytes(state)
    assert main(["--corpus", str(tmp_path), "--output", str(tmp_path / "x.nemo"), "--resume"]) == 2
    assert "there is nothing to resume" in capsys.readouterr().err
