"""Long clips in pieces."""

from __future__ import annotations

from rpcb_models.audio._samples import SAMPLE_RATE, Samples

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
        later_half = clip[limit // 2 : limit]
        blocks = later_half[: len(later_half) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        cut = limit // 2 + int((blocks * blocks).sum(axis=1).argmin()) * _BLOCK + _BLOCK // 2
        pieces.append(clip[:cut])
        clip = clip[cut:]
    return [*pieces, clip]
