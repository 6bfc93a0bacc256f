"""Speech enhancement: `rpcb-trio serve rpcb_models.se:service`. Importing it loads no model."""

from rpcb_models.se.enhancer import Demucs, Dtln, Enhancer, named_enhancer
from rpcb_models.se.service import SpeechEnhancement

__all__ = ["Demucs", "Dtln", "Enhancer", "SpeechEnhancement", "named_enhancer", "service"]

service = SpeechEnhancement()
