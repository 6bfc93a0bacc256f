"""Speech recognition: `rpcb-trio serve models.asr:service`. Importing it loads no model."""

from models.asr.moonshine import Moonshine
from models.asr.quartznet import QuartzNet
from models.asr.recogniser import Recogniser
from models.asr.service import SpeechRecognition

__all__ = ["Moonshine", "QuartzNet", "Recogniser", "SpeechRecognition", "service"]

service = SpeechRecognition()
