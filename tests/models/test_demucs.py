"""Demucs computes what the published network does, and a clip's result is its own whatever its batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from rpcb_models.audio import read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.checkpoint import load_demucs
from rpcb_models.se.demucs import DemucsNet, DemucsShape
from rpcb_models.se.enhancer import SMALL_DEMUCS

DATA = Path(__file__).parents[1] / "data" / "demucs"
CASES: dict[str, tuple[int, Literal[1, 2, 4]]] = {
    "demucs_h4_causal": (4, 4),
    "demucs_h4_d3_noncausal_s2r2": (2, 2),
}
"""Name of a genuine network with its inputs and outputs -> its stride and resample."""

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[DemucsNet, Arrays]:
    torch.set_num_threads(1)
    stride, resample = CASES[request.param]
    with np.load(DATA / f"{request.param}.npz") as file:
        arrays = dict(file)
    return load_demucs(DATA / f"{request.param}.th", stride=stride, resample=resample), arrays


@torch.inference_mode()
def enhanced(network: DemucsNet, audio: npt.NDArray[Any], lengths: list[int]) -> npt.NDArray[Any]:
    rows: npt.NDArray[Any] = network(torch.from_numpy(audio), lengths).numpy()
    return rows


def off(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference, to the loudest sample."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_a_padded_batch_without_lengths_is_the_genuine_networks(case: tuple[DemucsNet, Arrays]) -> None:
    network, arrays = case
    audio = arrays["audio"][:, 0]
    assert off(enhanced(network, audio, [audio.shape[1]] * 3), arrays["out_batch"][:, 0]) <= 1e-6


@pytest.mark.parametrize("row", range(3))
def test_a_clip_alone_is_the_genuine_networks(case: tuple[DemucsNet, Arrays], row: int) -> None:
    network, arrays = case
    length = int(arrays["audio_len"][row])
    output = enhanced(network, arrays["audio"][row, :, :length], [length])
    # The genuine network is itself up to 1.2e-6 off its float64 self here.
    assert off(output, arrays[f"out_single{row}"][0]) <= 1.5e-6


def test_a_clip_in_a_batch_is_the_genuine_clip_alone(case: tuple[DemucsNet, Arrays]) -> None:
    network, arrays = case
    lengths = arrays["audio_len"].tolist()
    rows = enhanced(network, arrays["audio"][:, 0], lengths)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert off(row[:length], arrays[f"out_single{index}"][0, 0]) <= 1e-6


def test_in_double_precision_a_batch_changes_nothing_at_all(case: tuple[DemucsNet, Arrays]) -> None:
    network, arrays = case
    lengths = arrays["audio_len"].tolist()
    audio = arrays["audio"][:, 0].astype(np.float64)
    network.double()
    rows = enhanced(network, audio, lengths)
    alone = [enhanced(network, audio[i : i + 1, :length], [length]) for i, length in enumerate(lengths)]
    network.float()
    for row, output in zip(rows, alone, strict=True):
        assert off(row[: output.shape[1]], output[0]) <= 1e-13


@pytest.mark.parametrize(
    "options", [{"glu": False}, {"normalize": False}, {"glu": False, "normalize": False}]
)
def test_without_gates_or_normalising_a_batch_changes_nothing_either(options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    network = DemucsNet(DemucsShape(widths=(4, 8, 16), stride=2, resample=2, **options)).double().eval()
    lengths = [4001, 2500, 700]
    generator = np.random.default_rng(0)
    audio = np.stack([np.pad(generator.normal(size=length), (0, 4001 - length)) for length in lengths])
    rows = enhanced(network, audio, lengths)
    for row, clip, length in zip(rows, audio, lengths, strict=True):
        assert off(row[:length], enhanced(network, clip[np.newaxis, :length], [length])[0]) <= 1e-12


def test_without_normalising_a_clip_is_taken_as_loud_as_it_is() -> None:
    torch.manual_seed(0)
    network = DemucsNet(DemucsShape(widths=(4, 8), normalize=False)).eval()
    levelled = DemucsNet(DemucsShape(widths=(4, 8), floor=1e-9)).eval()
    levelled.load_state_dict(network.state_dict())
    clip = np.random.default_rng(0).normal(size=(1, 3000)).astype(np.float32)
    clip /= torch.from_numpy(clip).std().item()
    assert off(enhanced(network, clip, [3000]), enhanced(levelled, clip, [3000])) <= 1e-5
    quiet = clip * np.float32(0.1)
    assert off(enhanced(network, quiet, [3000]), enhanced(levelled, quiet, [3000])) > 0.01


@torch.inference_mode()
def test_resampling_is_the_genuine_networks(case: tuple[DemucsNet, Arrays]) -> None:
    network, arrays = case
    audio = torch.from_numpy(arrays["audio"][0, :, :1001])
    assert off(network.resampler.up(audio).numpy(), arrays["up"][0]) <= 1e-6
    assert off(network.resampler.down(audio).numpy(), arrays["down"][0]) <= 1e-6


def test_clips_are_padded_as_the_genuine_network_pads(case: tuple[DemucsNet, Arrays]) -> None:
    network, arrays = case
    for samples, padded in arrays["valid_length"].tolist():
        assert network.shape.valid_length(samples) == padded


def test_the_defaults_are_dns48_key_by_key() -> None:
    published = json.loads((DATA / "demucs_dns48.state_dict_keys.json").read_text("utf-8"))
    with torch.device("meta"):
        state = DemucsNet(DemucsShape()).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == published
    assert sum(tensor.numel() for tensor in state.values()) == 18_867_937


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 4001])
def test_a_clip_of_any_length_keeps_its_length(case: tuple[DemucsNet, Arrays], length: int) -> None:
    output = enhanced(case[0], np.full((1, length), 0.1, np.float32), [length])
    assert output.shape == (1, length)
    assert np.isfinite(output).all()


def test_the_shipped_small_network_gives_real_clips_the_same_in_a_batch() -> None:
    network = load_demucs(SMALL_DEMUCS)
    clips = [read_audio(clip.path.read_bytes()) for clip in recordings()[:4]]
    lengths = [len(clip) for clip in clips]
    audio = np.stack([np.pad(clip, (0, max(lengths) - len(clip))) for clip in clips])
    for row, clip in zip(enhanced(network, audio, lengths), clips, strict=True):
        assert off(row[: len(clip)], enhanced(network, clip[np.newaxis], [len(clip)])[0]) <= 2e-6
