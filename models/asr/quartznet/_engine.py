"""Runs a network over clips of any lengths, on the processor or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.asr.quartznet._loading import load
from models.asr.quartznet._options import Options
from models.asr.quartznet._text import LogProbs
from models.audio import Samples
from models.devices import set_threads, uploaded
from rpcb_trio import SettingError

_DTYPES: Final = {"fp16": torch.float16, "bf16": torch.bfloat16}
_SHORTEST: Final = 1024  # samples, for transforms that reflect the edges need some


class Engine:
    """A loaded network.

    Raises:
        rpcb_trio.SettingError: as `load`, or the precision is none of the device's.
    """

    def __init__(self, options: Options) -> None:
        self._loaded = load(options.checkpoint, device=options.device, features=options.features)
        self._half = _DTYPES.get(options.precision)
        self._threads = options.threads
        if self._half is not None and self._loaded.device.type != "cuda":
            raise SettingError(
                f"precision is {options.precision}, which is for cuda alone; device is {options.device}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The text of each output but the last, the blank."""
        return self._loaded.labels

    @property
    def on_cpu(self) -> bool:
        """Whether it computes on the processor."""
        return self._loaded.device.type == "cpu"

    def log_probs(self, groups: Sequence[Sequence[Samples]]) -> list[list[LogProbs]]:
        """Compute each group as one padded batch: float32 [T', V + 1] for each clip, without padding.

        On a GPU all groups are on their way before the first result is fetched.
        """
        set_threads(self._threads)
        device = self._loaded.device
        padded = (_padded(group) for group in groups)
        with torch.inference_mode(), self._autocast():
            running = [
                self._loaded.network(audio, torch.tensor([len(clip) for clip in group], device=device))
                for group, audio in zip(groups, uploaded(padded, device), strict=True)
            ]
            return [_rows(*each) for each in running]

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self._half is None else torch.autocast("cuda", self._half)


def _padded(clips: Sequence[Samples]) -> Tensor:
    audio = torch.zeros(len(clips), max(_SHORTEST, *map(len, clips)))
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(np.ascontiguousarray(clip))
    return audio


def _rows(log_probs: Tensor, frames: Tensor) -> list[LogProbs]:
    there = log_probs.cpu().numpy()
    return [row[:count] for row, count in zip(there, frames.tolist(), strict=True)]
