"""`python -m benches.long_recording`: what an hour of speech costs a worker, and short requests beside it.

The speech recogniser as it is served, with an embedded broker. One producer sends a recording of `--minutes`,
made of the shipped recordings with pauses between them; another sends short clips, one after the other.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import av
import cyclopts
import msgspec
import numpy as np
import trio

from benches.report import percentile, print_table, write_json
from rpcb_models.asr import SpeechRecognition
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import Recording, recordings
from rpcb_models.wer import word_error_rate
from rpcb_models.wire import AudioRequest
from rpcb_models.wire import Recognition as Reply
from rpcb_trio import MemoryBroker, RpcClient, open_client, open_worker

QUEUE: Final = "asr"
ROOM: Final = 3e-4  # RMS of the noise in a pause
BIT_RATE: Final = 24_000
SHORTEST, LONGEST = 0.3, 3.0  # seconds of a pause
ALONE: Final = 30
"""How many short clips are sent before the long one."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one recording cost."""

    minutes: float
    megabytes: float
    seconds: float
    """Until its reply."""
    cpu_seconds: float
    """Of the worker's process, the short clips' and the producers' included; without its decoders'."""
    growth: float
    """MB by which the process's peak exceeds that of short clips alone."""
    decoder: float
    """MB, of the largest decoder."""
    words_wrong: float
    words_wrong_one_by_one: float
    """Where each recording is sent by itself."""
    short_alone: tuple[float, ...]
    """Seconds until the reply of each short clip, before the long one is sent."""
    short_beside: tuple[float, ...]


def spoken(minutes: float, seed: int) -> list[tuple[Recording, float]]:
    """Which recordings make up so many minutes, each with the pause after it, in seconds."""
    order = random.Random(seed)  # noqa: S311 (an order, no secret)
    shipped = recordings()
    lengths = {each.name: len(read_audio(each.path.read_bytes())) / SAMPLE_RATE for each in shipped}
    chosen: list[tuple[Recording, float]] = []
    seconds = 0.0
    while seconds < 60 * minutes:
        each, pause = order.choice(shipped), order.uniform(SHORTEST, LONGEST)
        chosen.append((each, pause))
        seconds += lengths[each.name] + pause
    return chosen


def parts_of(chosen: Sequence[tuple[Recording, float]], seed: int) -> Iterator[Samples]:
    """Their samples, with the noise of a quiet room in the pauses."""
    generator = np.random.default_rng(seed)
    for each, pause in chosen:
        yield read_audio(each.path.read_bytes())
        yield generator.normal(0, ROOM, round(pause * SAMPLE_RATE)).astype(np.float32)


def write(path: Path, parts: Iterator[Samples]) -> None:
    """Write them as a browser would, as Ogg with Opus, and never have more than one part in memory."""
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = BIT_RATE
        stream.codec_context.open(strict=False)
        resampler = av.AudioResampler(
            stream.format.name, "mono", SAMPLE_RATE, frame_size=stream.codec_context.frame_size
        )
        at = 0
        for part in parts:
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="flt", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, at
            at += len(part)
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for last in (*resampler.resample(None), None):
            container.mux(stream.encode(last))


async def recognised(client: RpcClient, audio: bytes, timeout: float) -> str:  # noqa: ASYNC109 - as RpcClient.call
    body = msgspec.msgpack.encode(AudioRequest(audio, None))
    reply = await client.call(body, queue=QUEUE, timeout=timeout)
    return msgspec.msgpack.decode(reply.body, type=Reply).sentence


async def measure(
    service: SpeechRecognition,
    audio: bytes,
    chosen: Sequence[tuple[Recording, float]],
    minutes: float,
    alone_count: int = ALONE,
) -> Found:
    """Send short clips alone, then the long recording with short clips beside it."""
    clips = [(each.text, each.path.read_bytes()) for each in recordings()]
    alone, beside = list[float](), list[float]()
    texts = dict[str, str]()

    async def send_short(client: RpcClient, taken: list[float], number: int) -> None:
        text, audio = clips[number % len(clips)]
        began = time.perf_counter()
        texts[text] = await recognised(client, audio, 60)
        taken.append(time.perf_counter() - began)

    async def send_on(client: RpcClient) -> None:
        for number in range(10**6):
            await send_short(client, beside, number)

    broker = MemoryBroker()
    async with open_worker(service, broker, QUEUE), open_client(broker) as client:
        for number in range(alone_count):
            await send_short(client, alone, number)
        before, cpu, began = peak(resource.RUSAGE_SELF), time.process_time(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_on, client)
            sentence = await recognised(client, audio, 60 * minutes)
            nursery.cancel_scope.cancel()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    said = [each.text for each, _ in chosen]
    return Found(
        minutes=minutes,
        megabytes=len(audio) / 1e6,
        seconds=seconds,
        cpu_seconds=cpu,
        growth=peak(resource.RUSAGE_SELF) - before,
        decoder=peak(resource.RUSAGE_CHILDREN),
        words_wrong=word_error_rate([" ".join(said)], [sentence]),
        words_wrong_one_by_one=word_error_rate(said, [texts[text] for text in said]),
        short_alone=tuple(alone),
        short_beside=tuple(beside),
    )


def peak(who: int) -> float:
    """The most memory that a process has had, in MB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


def main(*, minutes: float = 60.0, seed: int = 0, json: Path | None = None) -> None:
    """Measure what a long recording costs a worker, and the short requests beside it.

    Args:
        minutes: of the recording.
        seed: of what is in it.
        json: a file for the figures.
    """
    chosen = spoken(minutes, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.ogg"
        write(path, parts_of(chosen, seed))
        found = trio.run(measure, SpeechRecognition(), path.read_bytes(), chosen, minutes)
    _print(found)
    if json is not None:
        write_json(json, "long_recording", {"minutes": minutes, "seed": seed}, [found])


def _print(found: Found) -> None:
    print_table(
        f"a recording of {found.minutes:g} minutes, {found.megabytes:.1f} MB",
        "short clips are sent one after the other; their CPU time is in that of the worker",
        ["", "found"],
        [
            ["until its reply, s", f"{found.seconds:.0f}"],
            ["CPU of the worker, s", f"{found.cpu_seconds:.0f}"],
            ["peak of the worker above that of short clips, MB", f"{found.growth:.0f}"],
            ["peak of the largest decoder, MB", f"{found.decoder:.0f}"],
            ["word error rate", f"{found.words_wrong:.1%}"],
            ["word error rate of its clips, one by one", f"{found.words_wrong_one_by_one:.1%}"],
            ["a short clip alone, p50 and p99, ms", _latencies(found.short_alone)],
            ["a short clip beside it, p50 and p99, ms", _latencies(found.short_beside)],
        ],
    )


def _latencies(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    return ", ".join(f"{1000 * percentile(seconds, percent):.0f}" for percent in (50, 99))


if __name__ == "__main__":
    cyclopts.run(main)
