"""Where in a clip somebody speaks: Silero VAD (MIT licence) through onnxruntime.

The graph is the one that the wheel silero-vad 6.2.3 has for whole recordings; the wheel itself wants torch.
It takes frames of 32 ms, each behind the last 4 ms of the one before it, and carries its state from call to
call. Measured on one thread: 1.1 ms of CPU for each second of audio.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from rpcb_models.asr.segments import Stretch
from rpcb_models.audio import Samples, is_silent
from rpcb_trio import SettingError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MODEL: Final = Path(__file__).with_name("silero_vad.onnx")

_FRAME, _CONTEXT, _STATE = 512, 64, 128
_BLOCK = 512  # frames in one call: 16 s
_ON, _OFF = 0.5, 0.35  # the probabilities at which speech begins and ends, as Silero's authors have them
_LEVEL = 0.25  # where the loud samples are brought, for the model hears less in quiet speech
_LOUD = 99.0  # per cent of samples are no louder than those, so that clicks do not set the level
_MAX_GAIN, _SILENCE = 1000.0, 1e-9  # what is below -70 dBFS is a recorder's own noise


class VoiceActivity:
    """Finds speech. Nothing is loaded before the first clip; used from several threads at once."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._session: InferenceSession | None = None

    def load(self) -> None:
        """Read the model; later calls do nothing.

        Raises:
            rpcb_trio.SettingError: onnxruntime is missing.
        """
        self._loaded()

    def stretches(self, clip: Samples) -> list[Stretch]:
        """Find speech in a clip (float32 [T], mono, 16 kHz), however quiet it is; in order.

        A stretch ends with the shortest pause.
        """
        if is_silent(clip):
            return []
        found: list[Stretch] = []
        start, peak = -1, 0.0
        for frame, probability in enumerate([*self.probabilities(clip).tolist(), 0.0]):
            if start < 0 and probability >= _ON:
                start, peak = frame, probability
            elif start >= 0 and probability < _OFF:
                found.append(Stretch(start * _FRAME, min(frame * _FRAME, len(clip)), peak))
                start = -1
            peak = max(peak, probability)
        return found

    def probabilities(self, clip: Samples) -> npt.NDArray[np.float32]:
        """The probability of speech in each 32 ms of a clip."""
        session = self._loaded()
        hidden = cell = np.zeros((1, 1, _STATE), np.float32)
        found = [np.zeros(0, np.float32)]
        for block in _blocks(clip, _gain(clip)):
            feed = {"input": block, "h": hidden, "c": cell}
            probabilities, hidden, cell = session.run(["speech_probs", "hn", "cn"], feed)
            found.append(probabilities.reshape(-1))
        return np.concatenate(found)

    def _loaded(self) -> InferenceSession:
        try:
            import onnxruntime  # noqa: PLC0415 (an extra's)
        except ModuleNotFoundError as error:
            raise SettingError(
                "finding speech needs onnxruntime: pip install onnxruntime, or set speech_only to false"
            ) from error
        with self._loading:
            if self._session is None:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.log_severity_level = 4
                self._session = onnxruntime.InferenceSession(
                    MODEL, options, providers=["CPUExecutionProvider"]
                )
            return self._session


def _gain(clip: Samples) -> np.float32:
    loud = np.percentile(np.abs(clip[:: 1 + len(clip) // 100_000]), _LOUD) if len(clip) else 1.0
    return np.float32(min(_LEVEL / max(loud, _SILENCE), _MAX_GAIN))


def _blocks(clip: Samples, gain: np.float32) -> Iterator[npt.NDArray[np.float32]]:
    """Frames [up to 512, 64 + 512] at the right level, each with what comes before it."""
    for start in range(0, len(clip), _BLOCK * _FRAME):
        before = clip[max(start - _CONTEXT, 0) : start]
        part = clip[start : start + _BLOCK * _FRAME]
        padded = np.zeros(_CONTEXT + -(-len(part) // _FRAME) * _FRAME, np.float32)
        padded[_CONTEXT - len(before) : _CONTEXT] = before
        padded[_CONTEXT : _CONTEXT + len(part)] = part
        levelled = np.clip(padded * gain, -1, 1)
        yield np.ascontiguousarray(sliding_window_view(levelled, _CONTEXT + _FRAME)[::_FRAME])
