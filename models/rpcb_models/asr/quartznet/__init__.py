"""QuartzNet and Jasper from a `.nemo` checkpoint, in plain torch. Importing it imports no torch."""

from rpcb_models.asr.quartznet._recogniser import QuartzNet

__all__ = ["QuartzNet"]
