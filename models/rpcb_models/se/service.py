"""Speech enhancement behind a queue, on the producers' wire."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from rpcb_models.audio import DECODE_MEMORY, MAX_BYTES, MAX_SECONDS, SAMPLE_RATE, Samples
from rpcb_models.audio_service import AudioService
from rpcb_models.se.enhancer import Enhancer, blended, named_enhancer
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wire import Enhanced, Enhancement, Status, status_of
from rpcb_trio import Failure, Outcome, SettingError, Success


class SpeechEnhancement(AudioService):
    """Answers `{audio, format}` with `{status, message, data: {enhance, duration}}`.

    Every failure has the same shape, with its status and message, and nil as data.

    Args:
        model: `dtln`, `demucs` or an enhancer of your own. Nothing is loaded before `warm_up` or the first
            batch.
        checkpoint: For demucs: a `.th` file.
        stride: For demucs, where the checkpoint is a plain dictionary of weights, which does not tell it, as
            the following two; see `load_demucs`.
        resample: See `load_demucs`.
        normalize: See `load_demucs`.
        dry: Share of the original in the reply, 0 to 1. A recogniser that hears the reply does better with
            some of it, 0.3 say.
        device: The model's torch name (`cpu`, `cuda:0`); None is the CPU. Each replica's own, where the
            worker has several, comes before it.
        threads: Of torch, per batch.
        max_seconds: The longest clip, in seconds; a longer one is refused.
        max_bytes: The largest audio file, in bytes; a larger one is refused.
        decode_memory: How much a decoder may allocate for one clip, in MiB; one that wants more is refused.

    Raises:
        rpcb_trio.SettingError: there is no such model, it takes no checkpoint, or dry is not within 0 and 1.
    """

    def __init__(
        self,
        model: str | Enhancer = "dtln",
        *,
        checkpoint: str | None = None,
        stride: int | None = None,
        resample: int | None = None,
        normalize: bool | None = None,
        dry: float = 0.0,
        device: str | None = None,
        threads: int = 1,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        decode_memory: int = DECODE_MEMORY,
    ) -> None:
        super().__init__(max_seconds=max_seconds, max_bytes=max_bytes, decode_memory=decode_memory)
        if not 0 <= dry <= 1:
            raise SettingError(f"dry is {dry:g}; give a share from 0 to 1")
        self._network: dict[str, Any] = {"stride": stride, "resample": resample, "normalize": normalize}
        if isinstance(model, str):
            self.enhancer = named_enhancer(model, checkpoint, device=device, threads=threads, **self._network)
        else:
            self.enhancer = model
        self._model = model
        self._checkpoint = checkpoint
        self._dry = dry
        self._threads = threads

    def on_device(self, device: str) -> SpeechEnhancement:
        """The same service for one replica, with a model of its own there; your own enhancer is shared."""
        return SpeechEnhancement(
            self._model,
            checkpoint=self._checkpoint,
            **self._network,
            dry=self._dry,
            device=device,
            threads=self._threads,
            max_seconds=self._max_seconds,
            max_bytes=self._max_bytes,
            decode_memory=self._decode_memory,
        )

    def warm_up(self) -> None:
        """Load the model and run it on a second of silence, which sets up what its first batch needs."""
        self.enhancer.load()
        self.enhancer.enhance([np.zeros(SAMPLE_RATE, np.float32)])

    def infer(self, items: list[Samples]) -> list[Samples | Exception]:
        """Enhance a batch of clips; one as long for each, or the error of a clip that came out as none."""
        enhanced = self.enhancer.enhance(items)
        return [_sound(blended(*pair, self._dry)) for pair in zip(enhanced, items, strict=True)]

    def encode(self, outcome: Outcome[Samples]) -> bytes:
        """Write the reply: MessagePack of `{status: int, message: str, data: {enhance, duration} | nil}`."""
        match outcome:
            case Success(value=samples):
                data = Enhanced(wav_bytes(samples), f"{len(samples) / SAMPLE_RATE:.2f}")
                reply = Enhancement(Status.SUCCESS, Status.SUCCESS.message, data)
            case Failure(error=error):
                status = status_of(error)
                reply = Enhancement(status, status.message, None)
        return msgspec.msgpack.encode(reply)


def _sound(samples: Samples) -> Samples | Exception:
    if np.isfinite(samples).all():
        return samples
    return ArithmeticError("the model's output holds values that are no finite numbers")
