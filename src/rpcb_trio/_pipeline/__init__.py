"""The way of a request through the worker; one nursery holds all its tasks."""

from rpcb_trio._pipeline._codec import Codec, Offload
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._serve import Worker, checked_prefetch, serve

__all__ = ["Codec", "Isolation", "Offload", "Worker", "checked_prefetch", "serve"]
