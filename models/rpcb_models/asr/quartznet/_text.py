"""Log-probabilities -> text: the best label of each frame, or a beam search with a language model.

Both take one clip's own frames, without padding. Source of the rule, "join repeated labels, then drop
blanks": CTC (Graves et al. 2006).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rpcb_models.asr.quartznet._lm import refuse_other_files, refuse_other_languages, without_kenlms_lines
from rpcb_trio import SettingError

LogProbs: TypeAlias = "npt.NDArray[np.float32]"
"""float32 [T', V + 1], natural logarithms; the blank is last."""

_NEW_WORD: Final = (
    "\N{LOWER ONE EIGHTH BLOCK}"  # before a label that begins a word, as in sub-word vocabularies
)
_IDEOGRAPHS: Final = ("\N{CJK UNIFIED IDEOGRAPH-3400}", "\N{CJK UNIFIED IDEOGRAPH-9FFF}")
_LEAST_LABEL, _LEAST_BEGINNING = -5.0, -10.0  # wider ones found no better texts, and took twice the time


class TextDecoder(Protocol):
    """From one clip's log-probabilities to its text. Used from several threads at once."""

    def text(self, log_probs: LogProbs) -> str: ...


class Greedy:
    """Takes the best label of each frame. Labels are joined as they are: Chinese has no spaces."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def text(self, log_probs: LogProbs) -> str:
        best = log_probs.argmax(axis=1)
        changes = best[np.diff(best, prepend=-1) != 0]
        return "".join(self._labels[index] for index in changes if index < len(self._labels)).strip()


class BeamSearch:
    """Looks for the text that recogniser and language model find best together.

    Of the texts that it follows, the one with the largest sum of its log-probability, `weight` times the
    language model's (both natural) and `bonus` for each word. It follows, in each frame, the labels whose
    log-probability is at least -5 (or the best one), and the `width` best beginnings, as far as they are not
    10 behind the best; so a text that begins badly is lost, however well it goes on.

    A word is what stands between spaces; where the labels are Chinese, each character is a word, and the
    model must be one of characters.

    Args:
        labels: The text of each output but the last, the blank.
        path: ARPA file (it may be gzipped) or KenLM's binary. An ARPA file named `.arpa` also tells which
            words there are, and so finds better texts.
        weight: Of the language model's log-probabilities.
        bonus: For each word, or the model would favour few.
        width: How many beginnings of texts are kept.

    Raises:
        rpcb_trio.SettingError: the extra or the file is missing, or it is no language model, or one whose
            words the labels can't write.
    """

    def __init__(self, labels: Sequence[str], path: Path, *, weight: float, bonus: float, width: int) -> None:
        try:
            from ctc_beam_decoder import build_ctcdecoder  # noqa: PLC0415 (an extra that few need)
        except ModuleNotFoundError as error:
            raise SettingError(
                "a language model needs ctc-beam-decoder: pip install 'rpcb-trio[lm]'"
            ) from error
        refuse_other_files(path)
        self._joined = any(_IDEOGRAPHS[0] <= label[:1] <= _IDEOGRAPHS[1] for label in labels)
        refuse_other_languages(path, labels, single=self._joined)
        names = [_NEW_WORD + label.strip() for label in labels] if self._joined else list(labels)
        try:
            with without_kenlms_lines():
                self._decoder = build_ctcdecoder(names, path, alpha=weight, beta=bonus)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise SettingError(f"lm is {path}, which is no language model ({reason})") from error
        if self._decoder.n_columns != len(labels) + 1:
            raise SettingError("a label of the checkpoint reads as a blank, so lm can't be used with it")
        self._width = width
        self._alone = threading.Lock()  # nothing is said of the decoder's use by several threads

    def text(self, log_probs: LogProbs) -> str:
        """Decode one clip; its GIL is free meanwhile."""
        if not len(log_probs):
            return ""
        with self._alone:
            found: str = self._decoder.decode(
                log_probs,
                beam_width=self._width,
                token_min_logp=_LEAST_LABEL,
                beam_prune_logp=_LEAST_BEGINNING,
            )
        return "".join(found.split()) if self._joined else found
