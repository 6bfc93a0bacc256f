"""Speech enhancement: `rpcb-trio serve models.se:service`. Importing it loads no model."""

from models.se.enhancer import Demucs, Dtln, Enhancer, named_enhancer
from models.se.service import SpeechEnhancement

__all__ = ["Demucs", "Dtln", "Enhancer", "SpeechEnhancement", "named_enhancer", "service"]

service = SpeechEnhancement()
