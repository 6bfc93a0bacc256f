"""The course of a training: CTC loss, AdamW, a learning rate that warms up and falls along a cosine.

Every step draws its chance from the seed and its own place alone. So on one thread the same plan gives the
same weights, and a training that is resumed goes on as if it had not stopped.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from rpcb_models.asr.quartznet._network import Network
from rpcb_models.asr.train.augmentation import masked, varied
from rpcb_models.asr.train.batches import Batch, padded, shuffled_neighbours
from rpcb_models.asr.train.corpus import Clip
from rpcb_models.asr.train.labels import BLANK
from rpcb_trio import SettingError

_WARM_UP: Final = 0.05  # of the training
_COLDEST: Final = 0.02  # of the learning rate, where it starts
_WEIGHT_DECAY: Final = 1e-3
_BETAS: Final = (0.9, 0.98)
_LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True)
class Plan:
    """How a training goes, and how long: that many epochs or, without, minutes of processor time."""

    epochs: int | None
    minutes: float
    batch_seconds: float
    lr: float
    seed: int


@dataclass(frozen=True)
class Step:
    """What a step has come to."""

    epoch: int
    """From 0, as its batches."""
    batch: int
    batches: int
    """Of its epoch."""
    loss: float
    share: float
    """Of the whole training, 0 to 1."""

    @property
    def ends_epoch(self) -> bool:
        """Whether all clips have been learned from once more."""
        return self.batch + 1 == self.batches


class Training:
    """A network on its way.

    Args:
        network: As `untrained` builds it; it is trained in place.
        clips: What it learns.
        plan: How. With epochs in it, two trainings of one plan on one thread end with the same weights.
    """

    def __init__(self, network: Network, clips: Sequence[Clip], plan: Plan) -> None:
        self.network = network
        self.seconds = 0.0
        """Of processor time, all in all."""
        self._clips = list(clips)
        self._plan = plan
        self._epoch = 0
        self._batch = 0
        self._groups = self._shuffled()
        self._optimiser = torch.optim.AdamW(
            network.parameters(), plan.lr, betas=_BETAS, weight_decay=_WEIGHT_DECAY
        )

    def steps(self) -> Iterator[Step]:
        """Train, step by step, to the plan's end."""
        since = time.process_time() - self.seconds
        while (share := self._share()) < 1:
            epoch, batch, batches = self._epoch, self._batch, len(self._groups)
            loss = self._learn(self._groups[batch], share)
            self._advance()
            self.seconds = time.process_time() - since
            yield Step(epoch, batch, batches, loss, self._share())

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs, for `torch.save`."""
        return {
            "made_with": self._made_with(),
            "place": [self._epoch, self._batch],
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where a training of the same seed, rate, batches and clips stood; it may be planned longer.

        Raises:
            rpcb_trio.SettingError: one of these differs.
        """
        for name, value in self._made_with().items():
            if (before := state["made_with"][name]) != value:
                raise SettingError(f"{name} is {value}, but what is to be resumed has {before}")
        self._epoch, self._batch = state["place"]
        self._groups = self._shuffled()
        self.seconds = state["seconds"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _made_with(self) -> dict[str, Any]:
        corpus = hashlib.sha256("\n".join(f"{clip.name}\t{clip.text}" for clip in self._clips).encode())
        return {
            "seed": self._plan.seed,
            "lr": self._plan.lr,
            "batch_seconds": self._plan.batch_seconds,
            "corpus": corpus.hexdigest()[:16],
        }

    def _advance(self) -> None:
        self._batch += 1
        if self._batch == len(self._groups):
            self._epoch, self._batch = self._epoch + 1, 0
            self._groups = self._shuffled()

    def _shuffled(self) -> list[list[Clip]]:
        seed = f"{self._plan.seed} {self._epoch}"
        return shuffled_neighbours(self._clips, seconds=self._plan.batch_seconds, seed=seed)

    def _share(self) -> float:
        if self._plan.epochs is None:
            return min(1.0, self.seconds / 60 / self._plan.minutes)
        whole = self._epoch + self._batch / len(self._groups)
        return min(1.0, whole / self._plan.epochs)

    def _learn(self, group: Sequence[Clip], share: float) -> float:
        torch.manual_seed(_number(self._plan.seed, self._epoch, self._batch))
        batch = padded([varied(clip.samples) for clip in group], [clip.text for clip in group])
        self.network.train()
        loss = ctc_loss(self.network, batch)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch is typed in part
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        for parameters in self._optimiser.param_groups:
            parameters["lr"] = self._plan.lr * rate(share)
        self._optimiser.step()
        return float(loss.detach())


def ctc_loss(network: Network, batch: Batch) -> Tensor:
    """Compute CTC's loss per label, over true lengths; features are masked if the network is in training."""
    features, frames = network.preprocessor.featurizer(batch.audio, batch.lengths)
    if network.training:
        features = masked(features, frames)
    log_probs, frames = network.recognise(features, frames)
    return nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets,
        frames,
        batch.target_lengths,
        blank=BLANK,
        zero_infinity=True,  # a clip made too short for its text teaches nothing
    )


def rate(share: float) -> float:
    """Give the learning rate, of the plan's, when that share of the training is over."""
    if share < _WARM_UP:
        return _COLDEST + (1 - _COLDEST) * share / _WARM_UP
    return (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP))) / 2


def _number(*places: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, places)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
