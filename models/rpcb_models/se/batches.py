"""Clips of any lengths through a torch network, in batches in which little is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rpcb_models.audio import SAMPLE_RATE, Samples
from rpcb_models.devices import Lane, exact, resolve_device, set_threads


class BatchedNetwork:
    """A network on its device.

    Args:
        network: Takes zero padded audio, float32 [B, T], and the rows' lengths, the longest first; gives as
            much audio.
        device: Its torch name; None is the CPU.
        threads: Of torch.
        most_padding: Share of the longest clip's length by which the others of its batch may be shorter.
        most_seconds: Of padded audio in one batch, for the memory it takes.

    Raises:
        rpcb_trio.SettingError: the device is not there, or threads is not at least 1.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        device: str | None,
        threads: int,
        most_padding: float,
        most_seconds: float,
    ) -> None:
        set_threads(threads)
        self._threads = threads
        place = resolve_device(device)
        self._network: Callable[[torch.Tensor, Sequence[int]], torch.Tensor] = network.to(place)
        self._lane = Lane(place)
        self._most_padding = most_padding
        self._most_seconds = most_seconds

    def enhance(self, clips: list[Samples]) -> list[Samples]:
        """Run the network over clips, float32 [T] each; one as long for each, in order."""
        set_threads(self._threads)
        groups = self._neighbours([len(clip) for clip in clips])
        padded = (_padded([clips[index] for index in group]) for group in groups)
        enhanced: list[Samples] = list(clips)
        with torch.inference_mode(), self._lane.computing(), exact():
            for group, batch in zip(groups, self._lane.uploaded(padded), strict=True):
                rows = self._network(batch, [len(clips[index]) for index in group]).cpu().numpy()
                for index, row in zip(group, rows, strict=True):
                    enhanced[index] = row[: len(clips[index])]
        return enhanced

    def _neighbours(self, lengths: list[int]) -> list[list[int]]:
        """Indices in groups, the longest first."""
        groups: list[list[int]] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if groups and self._fits(lengths[index], lengths[groups[-1][0]], len(groups[-1])):
                groups[-1].append(index)
            else:
                groups.append([index])
        return groups

    def _fits(self, length: int, longest: int, count: int) -> bool:
        padded = longest * (count + 1)
        return length >= longest * (1 - self._most_padding) and padded <= self._most_seconds * SAMPLE_RATE


def _padded(clips: list[Samples]) -> torch.Tensor:
    rows = np.zeros((len(clips), len(clips[0])), np.float32)
    for row, clip in zip(rows, clips, strict=True):
        row[: len(clip)] = clip
    return torch.from_numpy(rows)
