"""Speech recognition behind a queue, on the producers' wire."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec
import numpy as np

from models.asr.choice import recogniser_of
from models.asr.recogniser import Recogniser
from models.audio import DECODE_MEMORY, MAX_BYTES, MAX_SECONDS, SAMPLE_RATE, Samples
from models.audio_service import AudioService
from models.wire import Recognition, Status, status_of
from rpcb_trio import Failure, Outcome, SettingError, Success


@runtime_checkable
class _Placeable(Protocol):
    def on_device(self, device: str) -> Recogniser: ...


class SpeechRecognition(AudioService):
    """Answers `{audio, format}` with `{sentence, other}`.

    Every failure has the same shape: an empty sentence, since that field is for recognised words only, and
    the status in `other`. Producers that look at `sentence` alone then show nothing rather than an error's
    text as if it had been spoken.

    All arguments are plain, so that a line of configuration can give them. Nothing is loaded before `warm_up`
    or the first batch.

    Args:
        recogniser: "moonshine" (English, out of the box), "quartznet" (your checkpoint), or one of your own.
        device: torch's name of where to compute, for quartznet; the processor by default.
        threads: Of the recogniser's library; one leaves the other cores to the event loop.
        checkpoint: For quartznet: path of a `.nemo` file.
        lm: For quartznet: path of a language model, ARPA or KenLM's binary.
        lm_weight: For quartznet, as the following; see `QuartzNet`.
        word_bonus: See `QuartzNet`.
        beam_width: See `QuartzNet`.
        features: See `QuartzNet`.
        precision: See `QuartzNet`.
        max_seconds: The longest clip, in seconds; a longer one is refused.
        max_bytes: The largest audio file, in bytes; a larger one is refused.
        decode_memory: How much a decoder may allocate for one clip, in MiB; one that wants more is refused.

    Raises:
        rpcb_trio.SettingError: there is no such recogniser, or arguments don't go together.
    """

    def __init__(
        self,
        recogniser: str | Recogniser = "moonshine",
        *,
        device: str | None = None,
        threads: int = 1,
        checkpoint: str | None = None,
        lm: str | None = None,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        beam_width: int | None = None,
        features: str | float | None = None,
        precision: str | None = None,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        decode_memory: int = DECODE_MEMORY,
    ) -> None:
        super().__init__(max_seconds=max_seconds, max_bytes=max_bytes, decode_memory=decode_memory)
        self.recogniser = recogniser_of(
            recogniser,
            device=device,
            threads=threads,
            checkpoint=checkpoint,
            lm=lm,
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            beam_width=beam_width,
            features=features,
            precision=precision,
        )

    def on_device(self, device: str) -> SpeechRecognition:
        """The service for a replica on that device: another one, where the recogniser cares.

        Raises:
            rpcb_trio.SettingError: the recogniser runs on the processor alone, and the device is another.
        """
        if isinstance(self.recogniser, _Placeable):
            return SpeechRecognition(
                self.recogniser.on_device(device),
                max_seconds=self._max_seconds,
                max_bytes=self._max_bytes,
                decode_memory=self._decode_memory,
            )
        if device != "cpu":
            raise SettingError(f"device is {device}, but the recogniser runs on the cpu; leave device out")
        return self

    def warm_up(self) -> None:
        """Load the recogniser and run it on a second of faint noise, which sets up what a batch needs."""
        self.recogniser.load()
        self.recogniser.transcribe([np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)])

    def infer(self, items: list[Samples]) -> list[str]:
        """Recognise a batch of clips; one sentence for each."""
        return self.recogniser.transcribe(items)

    def encode(self, outcome: Outcome[str]) -> bytes:
        """Write the reply: MessagePack of `{sentence: str, other: int}`."""
        match outcome:
            case Success(value=sentence):
                reply = Recognition(sentence=sentence, other=Status.SUCCESS)
            case Failure(error=error):
                reply = Recognition(sentence="", other=status_of(error))
        return msgspec.msgpack.encode(reply)
