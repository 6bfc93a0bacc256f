"""Runs a network over clips of any lengths, on the processor or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from rpcb_models.asr.quartznet._loading import load
from rpcb_models.asr.quartznet._options import Options
from rpcb_models.asr.quartznet._text import LogProbs
from rpcb_models.audio import Samples
from rpcb_models.devices import Lane, exact, sent, set_threads
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
        self._threads = options.threads
        half = _DTYPES.get(options.precision)
        if half is not None:
            if self._loaded.device.type != "cuda":
                raise SettingError(
                    f"precision is {options.precision}, which is for cuda alone; device is {options.device}"
                )
            self._loaded.network.halve(half)
        self._lane = Lane(self._loaded.device)

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
        with torch.inference_mode(), self._lane.computing(), exact():
            running = [
                self._loaded.network(audio, sent([len(clip) for clip in group], device))
                for group, audio in zip(groups, self._lane.uploaded(padded), strict=True)
            ]
            return [_rows(*each) for each in running]


def _padded(clips: Sequence[Samples]) -> Tensor:
    audio = torch.zeros(len(clips), max(_SHORTEST, *map(len, clips)))
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(np.ascontiguousarray(clip))
    return audio


def _rows(log_probs: Tensor, frames: Tensor) -> list[LogProbs]:
    there = log_probs.cpu().numpy()
    return [row[:count] for row, count in zip(there, frames.tolist(), strict=True)]
