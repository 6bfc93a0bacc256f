"""Moonshine's two graphs: one clip at a time through the encoder, many through the decoding loop.

Both take float32 samples at 16 kHz and a mask over samples (not frames). The decoder's graph is "merged":
its first step (`use_cache_branch` false) computes what attention needs of the encoder's output; each later
step takes that and one token, and gives the next. Source: the graphs themselves and the Moonshine paper
(arXiv 2410.15608).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from rpcb_models.audio import Samples
from rpcb_trio import SettingError

try:
    import numpy as np
    import numpy.typing as npt
    import onnxruntime
except ModuleNotFoundError as missing:
    raise SettingError(f"Moonshine needs {missing.name}: pip install 'rpcb-trio[moonshine]'") from missing

Floats: TypeAlias = "npt.NDArray[np.float32]"
Whole: TypeAlias = "npt.NDArray[np.int64]"
Provider: TypeAlias = tuple[str, dict[str, str]]
"""One of onnxruntime's, and its options."""
Cache: TypeAlias = dict[str, Floats]
"""Input name -> keys or values [B, 8 heads, T, 36]; T is tokens so far, or the encoder's frames."""

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_MIN_SAMPLES = 895  # what the encoder's three strided convolutions need for one frame
_START, _END = 1, 2
_HEADS, _HEAD_WIDTH, _WIDTH = 8, 36, 288
_REPEATS = 8  # of a phrase, one after another, that nobody says: the model repeats itself
_LONGEST_PHRASE = 12  # tokens


@dataclass(eq=False)
class Utterance:
    """One clip's way through the decoder."""

    samples: int
    frames: int
    max_tokens: int
    cache: Cache
    """As the first step left it; empty once a loop has taken it over."""
    tokens: list[int] = field(default_factory=list)
    done: bool = False

    def take(self, token: int) -> None:
        """Take the token the model chose."""
        if token == _END:
            self.done = True
            return
        self.tokens.append(token)
        repeated = _repeated(self.tokens)
        if repeated:
            del self.tokens[-repeated:]
        self.done = repeated > 0 or len(self.tokens) >= self.max_tokens


class Graphs:
    """Both sessions. Its methods may run in several threads at once.

    Args:
        encoder: Path of `encoder_model.ort`.
        decoder: Path of `decoder_model_merged.ort`.
        threads: Of each run.
        device: `cpu`, or `cuda:N` where onnxruntime has the provider for it.

    Raises:
        rpcb_trio.SettingError: this onnxruntime can't use the device.
    """

    def __init__(self, encoder: Path, decoder: Path, *, threads: int, device: str = "cpu") -> None:
        providers = _providers(device, onnxruntime.get_available_providers())
        self._encoder = _session(encoder, threads, providers)
        self._decoder = _session(decoder, threads, providers)
        inputs = [one.name for one in self._decoder.get_inputs()]
        self._cached = [name for name in inputs if name.startswith("past_key_values.")]
        self._growing = [name for name in self._cached if ".decoder." in name]

    def start(self, clip: Samples, *, max_tokens: int) -> Utterance:
        """Encode a clip (float32 [T], mono, 16 kHz) and take the decoder's first step."""
        clip = np.pad(clip, (0, max(0, _MIN_SAMPLES - len(clip))))
        mask = np.ones((1, len(clip)), np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": clip[np.newaxis], "attention_mask": mask})
        nothing = dict.fromkeys(self._cached, np.zeros((1, _HEADS, 0, _HEAD_WIDTH), np.float32))
        feed = {**nothing, "encoder_hidden_states": hidden, "use_cache_branch": np.array([False])}
        chosen, cache = self._step(np.array([_START]), mask, feed, self._cached)
        utterance = Utterance(len(clip), hidden.shape[1], max_tokens, cache)
        utterance.take(int(chosen[0]))
        return utterance

    def finish(self, utterances: list[Utterance]) -> None:
        """Decode greedily, all at once, until each has its end token or `max_tokens`."""
        active = [one for one in utterances if not one.done]
        cache = _stacked(active)
        while active:
            self._run_until_one_is_done(active, cache)
            rows = [row for row, one in enumerate(active) if not one.done]
            active = [active[row] for row in rows]
            cache = _kept(cache, rows, frames=max((one.frames for one in active), default=0))

    def _run_until_one_is_done(self, active: list[Utterance], cache: Cache) -> None:
        mask = _mask([one.samples for one in active])
        hidden = np.zeros((len(active), 1, _WIDTH), np.float32)  # not read: the cache has what matters of it
        while not any(one.done for one in active):
            last = np.array([one.tokens[-1] for one in active])
            feed = {**cache, "encoder_hidden_states": hidden, "use_cache_branch": np.array([True])}
            chosen, grown = self._step(last, mask, feed, self._growing)
            cache.update(grown)
            for one, token in zip(active, chosen, strict=True):
                one.take(int(token))

    def _step(
        self, tokens: Whole, mask: Whole, feed: dict[str, Any], wanted: list[str]
    ) -> tuple[Whole, Cache]:
        """One step: the last tokens [B] -> the best next tokens [B] and the caches wanted."""
        outputs = [name.replace("past_key_values", "present") for name in wanted]
        inputs = {**feed, "input_ids": tokens[:, np.newaxis], "encoder_attention_mask": mask}
        logits, *caches = self._decoder.run(["logits", *outputs], inputs)
        return logits[:, -1].argmax(axis=-1), dict(zip(wanted, caches, strict=True))


def _repeated(tokens: list[int]) -> int:
    """How many tokens at the end only repeat what stands before them; 0 unless they do so again and again."""
    for phrase in range(1, min(_LONGEST_PHRASE, len(tokens) // _REPEATS) + 1):
        if tokens[-1] != tokens[-1 - phrase]:
            continue
        tail = phrase * (_REPEATS - 1)
        if tokens[-tail:] == tokens[-tail - phrase : -phrase]:
            return tail
    return 0


def _providers(device: str, available: Sequence[str]) -> list[Provider]:
    """What onnxruntime is to compute with, the first that can do a step; the processor can do all."""
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return [(_CPU, {})]
    if kind != "cuda" or not (number or "0").isdecimal():
        raise SettingError(f"device is {device}, but moonshine runs on cpu or cuda:N; name one of them")
    if _CUDA not in available:
        raise SettingError(
            f"device is {device}, but this onnxruntime has no {_CUDA} (it has {', '.join(available)}); "
            "pip install onnxruntime-gpu in place of onnxruntime, or leave device out"
        )
    return [(_CUDA, {"device_id": number or "0"}), (_CPU, {})]


def _session(path: Path, threads: int, providers: list[Provider]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores
    options.log_severity_level = 4  # its errors are raised, and need not be printed as well
    wanted = providers[0][0]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        if wanted == _CPU:
            raise
        reason = " ".join(str(error).split())[:300]
        raise SettingError(
            f"onnxruntime can't load moonshine with {wanted} ({reason}); leave device out"
        ) from error
    used = session.get_providers()[0]
    if used != wanted:  # onnxruntime goes on without it, and would be found out by its slowness
        raise SettingError(
            f"onnxruntime can't use {wanted} and takes {used}; mend its installation, or leave device out"
        )
    return session


def _mask(samples: list[int]) -> Whole:
    return (np.arange(max(samples)) < np.array(samples)[:, np.newaxis]).astype(np.int64)


def _stacked(utterances: list[Utterance]) -> Cache:
    """One cache for all, zero padded to the longest; takes over the utterances' own."""
    caches = [one.cache for one in utterances]
    for one in utterances:
        one.cache = {}
    if not caches:
        return {}
    return {name: _padded([cache.pop(name) for cache in caches]) for name in list(caches[0])}


def _padded(rows: list[Floats]) -> Floats:
    longest = max(row.shape[2] for row in rows)
    stack = np.zeros((len(rows), _HEADS, longest, _HEAD_WIDTH), np.float32)
    for held, row in zip(stack, rows, strict=True):
        held[:, : row.shape[2]] = row[0]
    return stack


def _kept(cache: Cache, rows: list[int], *, frames: int) -> Cache:
    """The cache of those rows alone, without the padding that only the others needed."""
    return {
        name: np.ascontiguousarray(held[rows, :, :frames] if ".encoder." in name else held[rows])
        for name, held in cache.items()
    }
