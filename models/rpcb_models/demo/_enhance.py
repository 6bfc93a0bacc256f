"""The demo's second half: noisy recordings, enhanced and recognised by two services of one broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from rich.progress import Progress

from rpcb_models.asr import service as recognition
from rpcb_models.audio import read_audio
from rpcb_models.composition import Ears, Heard, Queues
from rpcb_models.noise import NoisyClip, noisy_clips, si_sdr
from rpcb_models.recordings import recordings
from rpcb_models.se import SpeechEnhancement
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wer import word_error_rate
from rpcb_trio import AutoPolicy, MemoryBroker, Service, Worker, open_client, serve

NOISES = ("white", "babble")
SNR = 5
DRY = 0.3  # a little of the original: what is left to recognise is worth more than the last of the noise


@dataclass(frozen=True, eq=False)
class Result:
    """A noisy clip, what was heard of it, and the wav files of both."""

    clip: NoisyClip
    text: str
    heard: Heard
    noisy_file: Path
    enhanced_file: Path

    @property
    def si_sdr(self) -> tuple[float, float]:
        """How much of it is speech, before and after, in dB."""
        return si_sdr(self.clip.clean, self.clip.noisy), si_sdr(
            self.clip.clean, read_audio(self.heard.enhanced)
        )

    @property
    def word_errors(self) -> tuple[float, float]:
        """Word error rate of the noisy clip, and of the enhanced one."""
        return word_error_rate([self.text], [self.heard.as_it_came]), word_error_rate(
            [self.text], [self.heard.once_enhanced]
        )


def enhance_all(output: Path, progress: Progress) -> list[Result]:
    """Send the noisy clips through both services, all at once, and write what comes back to `output`."""
    clips = [each for each in noisy_clips(NOISES, (SNR,)) if each.name.startswith("librivox")]
    output.mkdir(parents=True, exist_ok=True)
    return trio.run(_serve_and_hear, clips, output, progress)


async def _serve_and_hear(clips: Sequence[NoisyClip], output: Path, progress: Progress) -> list[Result]:
    broker, queues = MemoryBroker(), Queues()
    services: dict[str, Service[Any, Any]] = {
        queues.recognition: recognition,
        queues.enhancement: SpeechEnhancement(dry=DRY),
    }
    results: list[Result] = []
    async with trio.open_nursery() as nursery:
        workers: list[Worker] = [
            await nursery.start(
                partial(serve, service, broker, queue, batching=AutoPolicy(len(clips)), instruments=[])
            )
            for queue, service in services.items()
        ]
        task = progress.add_task("noisy clips through both services", total=len(clips))

        def done(result: Result) -> None:
            results.append(result)
            progress.advance(task)

        async with open_client(broker) as client, trio.open_nursery() as listeners:
            ears = Ears(client, queues, timeout=120)
            for clip in clips:
                listeners.start_soon(_hear, ears, clip, output, done)
        for worker in workers:
            worker.drain()
    return sorted(results, key=lambda each: (each.clip.noise, each.clip.name))


async def _hear(ears: Ears, clip: NoisyClip, output: Path, done: Callable[[Result], None]) -> None:
    noisy = wav_bytes(clip.noisy)
    heard = await ears.hear(noisy)
    name = f"{clip.name}-{clip.noise}"
    files = output / f"{name}-noisy.wav", output / f"{name}-enhanced.wav"
    for file, audio in zip(files, (noisy, heard.enhanced), strict=True):
        await trio.Path(file).write_bytes(audio)
    texts = {each.name: each.text for each in recordings()}
    done(Result(clip, texts[clip.name], heard, *files))
