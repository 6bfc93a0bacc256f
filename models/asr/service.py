"""Speech recognition behind a queue, on the producers' wire."""

from __future__ import annotations

import msgspec

from models.asr.moonshine import Moonshine
from models.asr.recogniser import Recogniser
from models.audio import MAX_BYTES, MAX_SECONDS, SAMPLE_RATE, Samples, read_audio
from models.wire import Recognition, Status, read_request, status_of
from rpcb_trio import Failure, Outcome, Success


class SpeechRecognition:
    """Answers `{audio, format}` with `{sentence, other}`.

    Every failure has the same shape: an empty sentence, since that field is for recognised words only, and
    the status in `other`. Producers that look at `sentence` alone then show nothing rather than an error's
    text as if it had been spoken.

    Args:
        recogniser: The model, Moonshine unless another is given. Nothing is loaded before `warm_up` or the
            first batch.
        max_seconds: The longest clip, in seconds; a longer one is refused.
        max_bytes: The largest audio file, in bytes; a larger one is refused.
    """

    content_type = "application/octet-stream"

    def __init__(
        self,
        recogniser: Recogniser | None = None,
        *,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.recogniser = recogniser or Moonshine()
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes

    def warm_up(self) -> None:
        """Load the recogniser."""
        self.recogniser.load()

    def decode(self, body: bytes) -> Samples:
        """Turn a request's body into float32 samples [T], mono, 16 kHz.

        Raises:
            RefusedRequest: the body or its audio can't be used; carries the status to reply.
        """
        request = read_request(body)
        return read_audio(
            request.audio, request.format, max_seconds=self._max_seconds, max_bytes=self._max_bytes
        )

    def cost(self, item: Samples) -> float:
        """Seconds of audio."""
        return len(item) / SAMPLE_RATE

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
