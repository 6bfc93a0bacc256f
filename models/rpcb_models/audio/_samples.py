"""What all models hear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from rpcb_models.decoding import protocol
from rpcb_trio import SettingError

try:
    import numpy as np
    import numpy.typing as npt
except ModuleNotFoundError as missing:
    raise SettingError("reading audio needs numpy: pip install 'rpcb-trio[audio]'") from missing

Samples: TypeAlias = "npt.NDArray[np.float32]"
"""float32 [T], mono, 16 kHz, within -1 and 1."""

SAMPLE_RATE: Final = protocol.SAMPLE_RATE
"""Of all samples, in Hz."""


def joined(pieces: Sequence[Samples]) -> Samples:
    """One clip of several that follow one another; the same one, where it is alone."""
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def is_silent(samples: Samples) -> bool:
    """Whether no sample is above -80 dBFS; so where there are none."""
    return bool(np.abs(samples).max(initial=0.0) < protocol.SILENCE)
