"""Clips -> padded batches of neighbours in length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rpcb_models.asr.train.corpus import Clip
from rpcb_models.asr.train.labels import label_indices

_JITTER = 0.1  # lengths may seem that much longer, so that neighbours change from epoch to epoch


@dataclass(frozen=True)
class Batch:
    """Audio float32 [B, N] and what CTC compares it with, padded with zeros; true lengths int64 [B]."""

    audio: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


def padded(audio: Sequence[Tensor], texts: Sequence[str]) -> Batch:
    """Put clips' samples (float32 [T]) and their texts into one batch."""
    targets = [torch.tensor(label_indices(text)) for text in texts]
    return Batch(
        pad_sequence(list(audio), batch_first=True),
        torch.tensor([len(each) for each in audio]),
        pad_sequence(targets, batch_first=True),
        torch.tensor([len(each) for each in targets]),
    )


def neighbours(clips: Sequence[Clip], *, seconds: float) -> list[list[Clip]]:
    """Group clips of like length, shortest first; a group has at most that much audio once it is padded."""
    return _grouped(sorted(clips, key=lambda clip: clip.seconds), seconds)


def shuffled_neighbours(clips: Sequence[Clip], *, seconds: float, seed: str) -> list[list[Clip]]:
    """Group clips of about the same length, in an order of the seed's."""
    chance = random.Random(seed)  # noqa: S311 - the same batches every time
    keys = {clip: clip.seconds * chance.uniform(1, 1 + _JITTER) for clip in clips}
    groups = _grouped(sorted(clips, key=keys.__getitem__), seconds)
    chance.shuffle(groups)
    return groups


def _grouped(ordered: Sequence[Clip], seconds: float) -> list[list[Clip]]:
    groups: list[list[Clip]] = []
    longest = 0.0
    for clip in ordered:
        longest = max(longest, clip.seconds)
        if groups and longest * (len(groups[-1]) + 1) <= seconds:
            groups[-1].append(clip)
        else:
            groups.append([clip])
            longest = clip.seconds
    return groups
