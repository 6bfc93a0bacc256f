"""The path of a request through the worker; one nursery holds all its tasks."""

from rpcb_trio._pipeline._checks import BOUNDS, MAX_BODY_SIZE, checked_intake, checked_prefetch
from rpcb_trio._pipeline._decoding import Decoding
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._hooks import Hooks, Offload, in_thread
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._live import LiveSettings
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._serve import open_worker, serve
from rpcb_trio._pipeline._worker import Worker

__all__ = [
    "BOUNDS",
    "MAX_BODY_SIZE",
    "Decoding",
    "Encoding",
    "Hooks",
    "Isolation",
    "LiveSettings",
    "Offload",
    "Resolved",
    "Worker",
    "checked_intake",
    "checked_prefetch",
    "in_thread",
    "open_worker",
    "serve",
]
