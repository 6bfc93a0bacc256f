"""Audio files of any kind a producer sends -> samples for a speech model."""

from models.audio._conversion import SAMPLE_RATE, Samples, is_silent
from models.audio._errors import AudioError
from models.audio._pauses import split_in_pauses
from models.audio._reading import MAX_BYTES, MAX_SECONDS, read_audio

__all__ = [
    "MAX_BYTES",
    "MAX_SECONDS",
    "SAMPLE_RATE",
    "AudioError",
    "Samples",
    "is_silent",
    "read_audio",
    "split_in_pauses",
]
