"""Moonshine tiny (English) through onnxruntime: the recogniser that works out of the box.

Batching is done where it pays and nowhere else. Measured on one thread, per clip of 5 s: encoding costs
41 ms alone and 42 ms in a batch of 8 (it is bound by arithmetic), a decoding step 2.3 ms alone and 1.4 ms in
a batch of 8 (much of it is fixed work). So each clip is encoded alone, without padding, and clips of similar
length share a decoding loop, which a clip leaves when its text is complete. There a second of padding costs
a clip about a twentieth of what a loop of its own does, so lengths need only be roughly alike. This also
keeps a clip's text nearly free of its batch: they share only the loop's 8-bit rounding, whose scale is that
of the largest value in the whole loop. With `alone` each clip has a loop of its own, and so its own text.

The model's own confidence tells nothing of noise: where nobody speaks it gives "You" 0.7 to 0.96, more than
some words that it hears rightly, or writes one thing over and over. What is no speech must be kept from it.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final

from rpcb_models.asr.tokens import Tokens
from rpcb_models.audio import SAMPLE_RATE, Samples, is_silent, split_in_pauses
from rpcb_models.wheel_files import wheel_files

if TYPE_CHECKING:
    from rpcb_models.asr.moonshine_graphs import Graphs

_SHA256: Final = {
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
_TOKENS_PER_SECOND = (
    13.0  # speech has 3 to 5, half as fast again up to 10; more is the model repeating itself
)
_TOKENS_ANYWAY = 8  # a short word may take several
_LOOP_GAP = 4.0  # seconds by which clips in one decoding loop may differ; see the module's opening
_LOOP_SECONDS = 48.0  # of padded audio in one loop: 27 MB of attention cache; more is no faster
_PIECE_SECONDS = 16.0  # on 19 clips of 14 s to 73 s: WER 2.9 %, 24 ms of CPU a second; at 30.0 3.5 %, 36 ms


class Moonshine:
    """Moonshine tiny-en of the wheel moonshine-voice 0.0.45 (MIT licence), 43 MB, English only.

    Args:
        threads: For onnxruntime. One leaves the other cores to the event loop, to decoding audio and to
            further replicas; more make a single batch faster.
        alone: Whether each clip is decoded by itself, so that its text does not depend on its batch.
        device: `cpu`, or `cuda:N` with onnxruntime-gpu. There the 8-bit steps still run on the processor, for
            onnxruntime has them for it alone.
    """

    language: Final = "en"

    unspoken: Final = frozenset(
        {"you", "thank you", "thank you for watching", "uh", "um", "mm hmm", "oh", "huh", "hmm"}
    )
    """What it writes, in lower-case words, where it hears no speech."""

    def __init__(self, *, threads: int = 1, alone: bool = False, device: str = "cpu") -> None:
        self._threads = threads
        self._alone = alone
        self._device = device
        self._loading = threading.Lock()
        self._model: tuple[Graphs, Tokens] | None = None

    def on_device(self, device: str) -> Moonshine:
        """One like this on that device: itself, where it is there; nothing is loaded."""
        if device == self._device:
            return self
        return Moonshine(threads=self._threads, alone=self._alone, device=device)

    def load(self) -> None:
        """Read the model's files; later calls do nothing.

        Raises:
            rpcb_trio.SettingError: the extra is missing, the files are of another version, or onnxruntime
                can't use the device.
        """
        self._loaded()

    def transcribe(self, clips: list[Samples]) -> list[str]:
        """Recognise clips, each float32 [T], mono, 16 kHz, of any length; one text for each, in order.

        A silent clip's text is empty, and so is one of signs alone (it writes notes for music). A clip beyond
        16 s is cut where it is quietest, and its pieces' texts are joined.
        """
        pieces = [
            (index, piece)
            for index, clip in enumerate(clips)
            for piece in split_in_pauses(clip, _PIECE_SECONDS)
            if not is_silent(piece)  # the model hears words in it
        ]
        texts = [""] * len(pieces)
        for group in self._loops([len(piece) for _, piece in pieces]):
            for row, text in zip(group, self._recognised([pieces[row][1] for row in group]), strict=True):
                texts[row] = text
        joined: list[list[str]] = [[] for _ in clips]
        for (index, _), text in zip(pieces, texts, strict=True):
            joined[index].append(text)
        return [" ".join(filter(None, parts)) for parts in joined]

    def _recognised(self, pieces: list[Samples]) -> list[str]:
        graphs, tokens = self._loaded()
        utterances = [graphs.start(piece, max_tokens=_max_tokens(piece)) for piece in pieces]
        graphs.finish(utterances)
        return [_words(tokens.text(utterance.tokens)) for utterance in utterances]

    def _loops(self, lengths: list[int]) -> list[list[int]]:
        return [[index] for index in range(len(lengths))] if self._alone else _groups(lengths)

    def _loaded(self) -> tuple[Graphs, Tokens]:
        from rpcb_models.asr.moonshine_graphs import Graphs  # noqa: PLC0415 (it imports onnxruntime)

        with self._loading:
            if self._model is None:
                files = wheel_files(
                    "moonshine_voice", "assets/tiny-en", _SHA256, remedy="pip install 'rpcb-trio[moonshine]'"
                )
                graphs = Graphs(
                    files["encoder_model.ort"],
                    files["decoder_model_merged.ort"],
                    threads=self._threads,
                    device=self._device,
                )
                self._model = graphs, Tokens(files["tokenizer.bin"].read_bytes())
            return self._model


def _max_tokens(piece: Samples) -> int:
    return math.ceil(len(piece) / SAMPLE_RATE * _TOKENS_PER_SECOND) + _TOKENS_ANYWAY


def _words(text: str) -> str:
    return text if any(map(str.isalnum, text)) else ""


def _groups(lengths: list[int]) -> list[list[int]]:
    """Indices of neighbours in length, longest first, so that little of a loop's work is padding."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and _fits(lengths[index], lengths[groups[-1][0]], len(groups[-1])):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _fits(length: int, longest: int, count: int) -> bool:
    gap, padded = longest - length, longest * (count + 1)
    return gap <= _LOOP_GAP * SAMPLE_RATE and padded <= _LOOP_SECONDS * SAMPLE_RATE
