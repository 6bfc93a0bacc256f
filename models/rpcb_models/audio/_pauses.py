"""Long clips in pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from rpcb_models.audio._samples import SAMPLE_RATE, Samples, joined

_BLOCK = SAMPLE_RATE // 10  # samples whose energy is taken together


def split_in_pauses(clip: Samples, max_seconds: float) -> list[Samples]:
    """Cut a clip into pieces of half to all of `max_seconds`, each time where it is quietest for 0.1 s.

    Args:
        clip: float32 [T], mono, 16 kHz.
        max_seconds: The longest piece, in seconds, at least 1.

    Returns:
        The pieces in their order, views of the clip; the last may be short.
    """
    limit = round(max_seconds * SAMPLE_RATE)
    pieces = []
    while len(clip) > limit:
        cut = _quietest(clip, limit)
        pieces.append(clip[:cut])
        clip = clip[cut:]
    return [*pieces, clip]


def pieces_of(blocks: Iterable[Samples], max_seconds: float) -> Generator[Samples]:
    """Cut as `split_in_pauses`, into the same pieces, what comes in blocks; it keeps no more than it must."""
    limit = round(max_seconds * SAMPLE_RATE)
    waiting: list[Samples] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        while count > limit:
            clip = joined(waiting)
            cut = _quietest(clip, limit)
            waiting, count = [clip[cut:].copy()], count - cut
            yield clip[:cut]
    yield joined(waiting)


def _quietest(clip: Samples, limit: int) -> int:
    """Where to cut a clip, in the later half of its first `limit` samples."""
    later_half = clip[limit // 2 : limit]
    blocks = later_half[: len(later_half) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    return limit // 2 + int((blocks * blocks).sum(axis=1).argmin()) * _BLOCK + _BLOCK // 2
