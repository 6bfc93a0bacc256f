"""A graph of ONNX: `rpcb-trio serve onnx --option model=model.onnx`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpcb_models.adapters._library import existing, library
from rpcb_trio import RequestError, SettingError

TYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}

Inputs = dict[str, np.ndarray]
"""Of one request, by name, without the dimension of the batch."""


class Onnx:
    """Serves a graph whose inputs and outputs have the batch as their first dimension.

    A request is a map from the names of inputs to nested lists; the reply is one from the names of outputs.
    Requests of equal shapes are computed at once; what has another shape is computed apart, for nobody knows
    how it may be padded. Where the graph has a batch of 1 built in, they are computed one by one.

    Args:
        model: an `onnxruntime.InferenceSession`, or the path of a file.
        device: `cpu`, or `cuda:1`, say; `--device` sets it for each replica.

    Raises:
        SettingError: the model can't be loaded, or the device can't be used.
    """

    def __init__(self, model: str | Any, device: str = "cpu") -> None:
        self._model = model
        self._session = _session(model, device) if isinstance(model, str) else model
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]
        for each in self._inputs.values():
            if each.type not in TYPES:
                raise SettingError(
                    f"the model's input {each.name} is of {each.type}; only numbers are served"
                )
            if each.shape and isinstance(each.shape[0], int) and each.shape[0] != 1:
                raise SettingError(
                    f"the model's input {each.name} has a batch of {each.shape[0]} built in; export it with "
                    "a dynamic first dimension"
                )
        self._one_by_one = any(each.shape and each.shape[0] == 1 for each in self._inputs.values())

    def on_device(self, device: str) -> Onnx:
        """The same for one replica's device."""
        if not isinstance(self._model, str):
            raise SettingError("device is set, but the session was made by you; give the path of the model")
        return Onnx(self._model, device)

    def infer(self, items: list[Inputs]) -> list[dict[str, np.ndarray] | Exception]:
        """Run the graph once for each shape among the items."""
        results: list[dict[str, np.ndarray] | Exception | None] = [None] * len(items)
        groups = dict[Any, list[tuple[int, Inputs]]]()
        for place, item in enumerate(items):
            try:
                ready = {name: self._ready(name, item) for name in self._inputs}
            except RequestError as error:
                results[place] = error
                continue
            key = place if self._one_by_one else tuple(each.shape for each in ready.values())
            groups.setdefault(key, []).append((place, ready))
        for group in groups.values():
            for place, outputs in self._run(group):
                results[place] = outputs
        return [each for each in results if each is not None]

    def _run(self, group: Sequence[tuple[int, Inputs]]) -> list[tuple[int, dict[str, np.ndarray]]]:
        stacked = {name: np.stack([ready[name] for _, ready in group]) for name in self._inputs}
        found = dict(zip(self._outputs, self._session.run(self._outputs, stacked), strict=True))
        return [
            (place, {name: values[number] for name, values in found.items()})
            for number, (place, _) in enumerate(group)
        ]

    def _ready(self, name: str, item: Inputs) -> np.ndarray:
        """An input as the graph takes it."""
        if unknown := {*item} - {*self._inputs}:
            raise RequestError(
                f"there is no input {', '.join(sorted(unknown))}; there are {', '.join(self._inputs)}"
            )
        if name not in item:
            raise RequestError(f"the input {name} is missing")
        spec = self._inputs[name]
        array = item[name].astype(TYPES[spec.type], copy=False)
        wanted = spec.shape[1:]
        fits = len(wanted) == array.ndim and all(
            have == want for have, want in zip(array.shape, wanted, strict=True) if isinstance(want, int)
        )
        if not fits:
            shape = ", ".join(map(str, wanted))
            raise RequestError(f"the input {name} has the shape {array.shape}, and the model takes ({shape})")
        return array


def _session(model: str, device: str) -> Any:
    path = existing("model", model)
    runtime = library("onnxruntime", "onnx")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        kind, _, number = device.partition(":")
        if kind != "cuda" or "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise SettingError(
                f"device is {device}, which onnxruntime can't use here; leave it out, or use cpu"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    try:
        return runtime.InferenceSession(path, providers=providers)
    except Exception as error:
        raise SettingError(f"model is {model}, which onnxruntime can't load: {error}") from error
