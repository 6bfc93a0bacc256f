"""QuartzNet and Jasper from a `.nemo` checkpoint, in plain torch. Importing it imports no torch."""

from models.asr.quartznet._recogniser import QuartzNet

__all__ = ["QuartzNet"]
