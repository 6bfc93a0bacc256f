"""What every service on the producers' wire shares: audio comes in, seconds of it are the cost."""

from __future__ import annotations

from collections.abc import Generator

from rpcb_models.audio import (
    DECODE_MEMORY,
    MAX_BYTES,
    MAX_SECONDS,
    SAMPLE_RATE,
    Samples,
    audio_blocks,
    joined,
)
from rpcb_models.wire import AudioRequest, read_request
from rpcb_trio import SettingError

_LEAST_MEMORY = 16  # MiB


class AudioService:
    """Decodes `{audio, format}`; `infer` and `encode` are the subclass's.

    Args:
        max_seconds: The longest clip, in seconds; a longer one is refused.
        max_bytes: The largest audio file, in bytes; a larger one is refused.
        decode_memory: How much a decoder may allocate for one clip, in MiB, besides the file and its samples;
            a clip that wants more is refused. Each of the worker's `decode_threads` has a decoder's process.

    Raises:
        rpcb_trio.SettingError: decode_memory is too small for any clip.
    """

    content_type = "application/octet-stream"

    def __init__(
        self,
        *,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        decode_memory: int = DECODE_MEMORY,
    ) -> None:
        if decode_memory < _LEAST_MEMORY:
            raise SettingError(f"decode_memory is {decode_memory}; give {_LEAST_MEMORY} or more, in MiB")
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._decode_memory = decode_memory

    def decode(self, body: bytes) -> Samples:
        """Turn a request's body into float32 samples [T], mono, 16 kHz.

        Raises:
            RefusedRequest: the body or its audio can't be used; carries the status to reply.
        """
        return self.samples(read_request(body))

    def samples(self, request: AudioRequest) -> Samples:
        """Read a request's audio, as `decode`."""
        return joined(list(self.blocks(request)))

    def blocks(self, request: AudioRequest) -> Generator[Samples]:
        """Read a request's audio in blocks; see `audio_blocks`."""
        return audio_blocks(
            request.audio,
            request.format,
            max_seconds=self._max_seconds,
            max_bytes=self._max_bytes,
            decode_memory=self._decode_memory,
        )

    def cost(self, item: Samples) -> float:
        """Seconds of audio."""
        return len(item) / SAMPLE_RATE
