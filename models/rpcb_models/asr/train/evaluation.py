"""How well a network hears what it has not learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import torch

from rpcb_models.asr.quartznet._network import Network
from rpcb_models.asr.quartznet._text import Greedy
from rpcb_models.asr.train.batches import neighbours, padded
from rpcb_models.asr.train.corpus import Clip
from rpcb_models.asr.train.labels import LABELS

_BATCH_SECONDS = 60.0


@dataclass(frozen=True)
class Heard:
    """A clip's text, and what the network makes of it."""

    said: str
    heard: str


def transcribed(network: Network, clips: Sequence[Clip]) -> list[Heard]:
    """Recognise clips greedily, in the order of their lengths; leaves the network in evaluation."""
    network.eval()
    greedy = Greedy(LABELS)
    results: list[Heard] = []
    for group in neighbours(clips, seconds=_BATCH_SECONDS):
        batch = padded([torch.from_numpy(clip.samples) for clip in group], [clip.text for clip in group])
        with torch.inference_mode():
            log_probs, frames = network(batch.audio, batch.lengths)
        for clip, row, count in zip(group, log_probs.numpy(), frames.tolist(), strict=True):
            results.append(Heard(clip.text, greedy.text(row[:count])))
    return results


def character_error_rate(results: Sequence[Heard]) -> float:
    """Wrong, missing and additional characters over all texts, per character said."""
    return jiwer.cer([each.said for each in results], [each.heard for each in results])
