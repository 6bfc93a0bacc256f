"""Several models from one client: what they answer is put together where the request comes from.

The ancestor's interface called four models. Here each service has a queue of its own, batches for itself, and
knows nothing of the others; the client sends to all that need not wait for each other at once.

    python -m rpcb_models.composition FILE...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cyclopts
import msgspec
import trio

from rpcb_models.wire import AudioRequest, Enhancement, Recognition, Status
from rpcb_trio import CallError, RpcbError, RpcClient, open_client

ReplyT = TypeVar("ReplyT")

_REASON = "rpcb-error-reason"


class PartFailed(Exception):
    """One of the services could not do its part.

    `part` is its queue, `status` what it said, and `reason` why, in words, where the worker tells.
    """

    def __init__(self, part: str, status: int, reason: str | None = None) -> None:
        super().__init__(f"{part} answered with status {status}" + (f": {reason}" if reason else ""))
        self.part = part
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Heard:
    """A clip recognised as it came, and once enhanced. `enhanced` is a wav file: 16 kHz, mono, PCM16."""

    as_it_came: str
    once_enhanced: str
    enhanced: bytes


@dataclass(frozen=True)
class Queues:
    """Where the services are; by default where rabbit-rpc-batch's producers find them."""

    recognition: str = "asr-en"
    enhancement: str = "seBase"


class Ears:
    """Hears clips through the services; any number of tasks may use it at once.

    Args:
        client: Where the requests go out.
        queues: The services' queues.
        timeout: Seconds until a service is given up.
    """

    def __init__(self, client: RpcClient, queues: Queues | None = None, *, timeout: float = 30.0) -> None:
        self._client = client
        self._queues = queues or Queues()
        self._timeout = timeout

    async def recognise(self, audio: bytes, *, file_format: str = "wav") -> str:
        """Recognise a clip: an audio file's bytes in, its text out.

        Raises:
            PartFailed: the service answered with an error.
            rpcb_trio.CallError: it did not answer.
        """
        queue = self._queues.recognition
        reply, reason = await self._ask(queue, audio, file_format, Recognition)
        if reply.other != Status.SUCCESS:
            raise PartFailed(queue, reply.other, reason)
        return reply.sentence

    async def enhance(self, audio: bytes, *, file_format: str = "wav") -> bytes:
        """Enhance a clip: an audio file's bytes in, a wav file's bytes out (16 kHz, mono, PCM16).

        Raises:
            PartFailed, rpcb_trio.CallError: as `recognise`.
        """
        queue = self._queues.enhancement
        reply, reason = await self._ask(queue, audio, file_format, Enhancement)
        if reply.data is None:
            raise PartFailed(queue, reply.status, reason)
        return reply.data.enhance

    async def hear(self, audio: bytes, *, file_format: str = "wav") -> Heard:
        """Recognise a clip as it came, and meanwhile enhance it and recognise that.

        Raises:
            PartFailed, rpcb_trio.CallError: as `recognise`; of the part that failed first.
        """
        as_it_came, enhanced, once_enhanced = "", b"", ""

        async def hear_as_it_came() -> None:
            nonlocal as_it_came
            as_it_came = await self.recognise(audio, file_format=file_format)

        async def hear_enhanced() -> None:
            nonlocal enhanced, once_enhanced
            enhanced = await self.enhance(audio, file_format=file_format)
            once_enhanced = await self.recognise(enhanced)

        failures: tuple[Exception, ...] = ()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear_as_it_came)
                nursery.start_soon(hear_enhanced)
        except* (PartFailed, CallError) as group:
            failures = group.exceptions
        if failures:
            raise failures[0]
        return Heard(as_it_came, once_enhanced, enhanced)

    async def _ask(
        self, queue: str, audio: bytes, file_format: str, shape: type[ReplyT]
    ) -> tuple[ReplyT, str | None]:
        """What a service answers, and why it failed, which has no place in its reply's body."""
        body = msgspec.msgpack.encode(AudioRequest(audio=audio, format=file_format))
        reply = await self._client.call(body, queue=queue, timeout=self._timeout)
        reason = reply.headers.get(_REASON)
        return msgspec.msgpack.decode(reply.body, type=shape), reason if isinstance(reason, str) else None


async def _main(*files: Path, url: str = "amqp://guest:guest@localhost:5672/", timeout: float = 30.0) -> int:  # noqa: ASYNC109 - as RpcClient.call
    """Print what each file's recogniser hears as it came, and once it is enhanced.

    Serve models/rpcb_models/asr/asr-en.toml and models/rpcb_models/se/se-base.toml meanwhile.

    Args:
        files: Audio files.
        url: AMQP URL of the broker.
        timeout: Seconds until a service is given up.
    """
    try:
        async with open_client(url) as client:
            ears = Ears(client, timeout=timeout)
            for file in files:
                heard = await ears.hear(file.read_bytes(), file_format=file.suffix.removeprefix("."))
                print(f"{file}\n  as it came:    {heard.as_it_came}\n  once enhanced: {heard.once_enhanced}")  # noqa: T201 - a command
    except (PartFailed, RpcbError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


if __name__ == "__main__":
    app = cyclopts.App(name="python -m rpcb_models.composition", backend="trio")
    app.default(_main)
    app()
