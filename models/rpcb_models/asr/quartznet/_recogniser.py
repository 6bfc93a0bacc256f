"""QuartzNet and Jasper from the user's `.nemo` checkpoint, as a recogniser.

Batching is done where it pays. Measured on one thread with a small network (0.6 M parameters), per second of
audio: clips of 2 s cost 3.5 ms alone and 1.7 ms in a batch of 8, clips of 10 s 2.1 ms and 1.8 ms; padding
costs in full. 96 clips of 1 s to 12 s cost 2.8 ms alone, as much in batches of 8 as they came (45 % padding),
and 2.0 ms with neighbours in length together (7 %). The full 15x5 (18.9 M parameters) is bound by its
arithmetic: 27 ms alone, 26 ms in a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rpcb_models.asr.quartznet._options import Options
from rpcb_models.asr.quartznet._text import BeamSearch, Greedy, LogProbs, TextDecoder
from rpcb_models.audio import SAMPLE_RATE, Samples, is_silent

if TYPE_CHECKING:
    from rpcb_models.asr.quartznet._engine import Engine

_CPU_GAP, _CPU_SECONDS = 1.0, 32.0  # of one batch: seconds by which clips differ, and seconds with padding
_GPU_GAP, _GPU_SECONDS = 4.0, 960.0  # a GPU has width to spare, and each batch its launches (not measured)


class QuartzNet:
    """QuartzNet (arXiv 1910.10261) or Jasper (arXiv 1904.03288) with a CTC layer, through torch.

    Args:
        checkpoint: Path of a `.nemo` file with a ConvASREncoder, of any language whose labels are characters.
        lm: Path of a language model, ARPA or KenLM's binary: of words, or of characters where the labels are
            Chinese. Without it the best label of each frame is taken.
        lm_weight: How much the language model counts next to the network.
        word_bonus: What each word adds to a text's score (natural logarithm), for language models prefer few.
        beam_width: How many beginnings of texts the search keeps; more are better and slower.
        device: torch's name of where to compute: cpu, cuda, cuda:1.
        threads: Of torch, which has one count for the whole process. One leaves the other cores to the event
            loop and to decoding audio.
        features: Of which NeMo the features are, "3.0" or "1.2". With 1.2 a clip's last frames depend on
            its batch.
        precision: Of the convolutions, "fp32", or on CUDA "fp16" or "bf16".

    Raises:
        rpcb_trio.SettingError: an argument is out of its range.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        lm: str | Path | None = None,
        lm_weight: float = 0.5,
        word_bonus: float = 1.5,
        beam_width: int = 64,
        device: str = "cpu",
        threads: int = 1,
        features: str | float = "3.0",
        precision: str = "fp32",
    ) -> None:
        self._options = Options(
            checkpoint=Path(checkpoint),
            lm=None if lm is None else Path(lm),
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            beam_width=beam_width,
            device=device,
            threads=threads,
            features=str(features),  # a line of configuration may give the number
            precision=precision,
        )
        self._loading = threading.Lock()
        self._loaded: tuple[Engine, TextDecoder] | None = None

    def on_device(self, device: str) -> QuartzNet:
        """Another one like this, on another device; nothing is loaded."""
        return QuartzNet(**asdict(self._options) | {"device": device})

    def load(self) -> None:
        """Read the checkpoint and the language model; later calls do nothing.

        Raises:
            rpcb_trio.SettingError: an extra, a file or the device is missing, or a file is not usable; says
                why in one line.
        """
        self._both()

    def transcribe(self, clips: list[Samples]) -> list[str]:
        """Recognise clips, each float32 [T], mono, 16 kHz, of any length; one text for each, in order.

        A silent clip's text is empty.
        """
        heard = [index for index, clip in enumerate(clips) if not is_silent(clip)]
        texts = [""] * len(clips)
        found = self.texts(self.log_probs([clips[index] for index in heard]))
        for index, text in zip(heard, found, strict=True):
            texts[index] = text
        return texts

    def log_probs(self, clips: Sequence[Samples]) -> list[LogProbs]:
        """Log-probabilities of clips (float32 [T], mono, 16 kHz), in order.

        Returns:
            float32 [T', V + 1] for each, natural logarithms, of its own frames alone. The blank comes last.
            T' is 0 for what is shorter than a frame.
        """
        engine, _ = self._both()
        gap, seconds = (_CPU_GAP, _CPU_SECONDS) if engine.on_cpu else (_GPU_GAP, _GPU_SECONDS)
        groups = neighbours([len(clip) for clip in clips], gap=gap, seconds=seconds)
        computed = engine.log_probs([[clips[index] for index in group] for group in groups])
        by_index = {
            index: rows
            for group, batch in zip(groups, computed, strict=True)
            for index, rows in zip(group, batch, strict=True)
        }
        return [by_index[index] for index in range(len(clips))]

    def texts(self, log_probs: Sequence[LogProbs]) -> list[str]:
        """Decode what `log_probs` gave; one text for each, in order."""
        _, decoder = self._both()
        return [decoder.text(each) for each in log_probs]

    def _both(self) -> tuple[Engine, TextDecoder]:
        import rpcb_models.devices  # noqa: F401, PLC0415 (it says what to install where torch is missing)
        from rpcb_models.asr.quartznet._engine import Engine  # noqa: PLC0415 (it imports torch)

        with self._loading:
            if self._loaded is None:
                engine = Engine(self._options)
                self._loaded = engine, _decoder(self._options, engine.labels)
            return self._loaded


def neighbours(lengths: Sequence[int], *, gap: float, seconds: float) -> list[list[int]]:
    """Indices of clips to compute together, longest first, so that little of the work is padding.

    Args:
        lengths: In samples.
        gap: By how many seconds clips of one group may differ.
        seconds: Of audio in one group, padding included; a longer clip stands alone.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[groups[-1][0]] if groups else 0
        close = longest - lengths[index] <= gap * SAMPLE_RATE
        if groups and close and longest * (len(groups[-1]) + 1) <= seconds * SAMPLE_RATE:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _decoder(options: Options, labels: Sequence[str]) -> TextDecoder:
    if options.lm is None:
        return Greedy(labels)
    return BeamSearch(
        labels,
        options.lm,
        weight=options.lm_weight,
        bonus=options.word_bonus,
        width=options.beam_width,
    )
