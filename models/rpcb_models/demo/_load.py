"""Concurrent producers, each with one request under way, and what became of their requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import trio

from rpcb_models.asr import SpeechRecognition
from rpcb_models.recordings import Recording
from rpcb_models.wire import AudioRequest, Recognition
from rpcb_trio import Instrument, MemoryBroker, RpcClient, Worker, open_client, serve
from rpcb_trio.batching import Batch, Policy

QUEUE = "asr"


@dataclass(frozen=True)
class Answered:
    """A recording with its transcript. `latency` is in seconds, as its producer saw it."""

    recording: Recording
    sentence: str
    latency: float


@dataclass
class Run:
    """One pass of all requests: how many seconds it took, and how many of processor time."""

    title: str
    total: int
    answered: list[Answered] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    waiting: Callable[[], int] = lambda: 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class _Batches(Instrument):
    def __init__(self, run: Run) -> None:
        self._run = run

    def batch_closed(self, batch: Batch) -> None:
        self._run.batches.append(batch)


async def transcribe_all(
    run: Run, service: SpeechRecognition, work: Sequence[Recording], *, callers: int, batching: Policy
) -> None:
    """Send `work` from `callers` producers to the service; `run` fills while it goes on."""
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery:
        worker: Worker = await nursery.start(
            partial(serve, service, broker, QUEUE, batching=batching, instruments=[_Batches(run)])
        )
        async with open_client(broker) as client:
            run.waiting = lambda: worker.held + broker.depth(QUEUE)
            started, cpu_started = trio.current_time(), time.process_time()
            todo = iter(work)
            async with trio.open_nursery() as producers:
                for _ in range(callers):
                    producers.start_soon(_produce, client, todo, run)
            run.seconds = trio.current_time() - started
            run.cpu_seconds = time.process_time() - cpu_started
        worker.drain()


async def _produce(client: RpcClient, todo: Iterator[Recording], run: Run) -> None:
    for recording in todo:
        body = msgspec.msgpack.encode(AudioRequest(audio=recording.path.read_bytes(), format="wav"))
        sent = trio.current_time()
        reply = await client.call(body, queue=QUEUE, timeout=120)
        sentence = msgspec.msgpack.decode(reply.body, type=Recognition).sentence
        run.answered.append(Answered(recording, sentence, trio.current_time() - sent))
