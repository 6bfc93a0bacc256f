"""The way of a request through the worker; one nursery holds all its tasks."""

from rpcb_trio._pipeline._codec import Codec, Offload
from rpcb_trio._pipeline._isolation import infer_isolated
from rpcb_trio._pipeline._serve import Worker, checked_prefetch, serve

__all__ = ["Codec", "Offload", "Worker", "checked_prefetch", "infer_isolated", "serve"]
