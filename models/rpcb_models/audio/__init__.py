"""Audio files of any kind a producer sends -> samples for a speech model."""

from rpcb_models.audio._errors import AudioError
from rpcb_models.audio._pauses import pieces_of, split_in_pauses
from rpcb_models.audio._reading import DECODE_MEMORY, MAX_BYTES, MAX_SECONDS, audio_blocks, read_audio
from rpcb_models.audio._samples import SAMPLE_RATE, Samples, is_silent, joined

__all__ = [
    "DECODE_MEMORY",
    "MAX_BYTES",
    "MAX_SECONDS",
    "SAMPLE_RATE",
    "AudioError",
    "Samples",
    "audio_blocks",
    "is_silent",
    "joined",
    "pieces_of",
    "read_audio",
    "split_in_pauses",
]
