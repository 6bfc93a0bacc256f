"""Speech recognition: `rpcb-trio serve rpcb_models.asr:service`. Importing it loads no model."""

from rpcb_models.asr.moonshine import Moonshine
from rpcb_models.asr.quartznet import QuartzNet
from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.asr.service import SpeechRecognition

__all__ = ["Moonshine", "QuartzNet", "Recogniser", "SpeechRecognition", "service"]

service = SpeechRecognition()
