"""What runs `infer`."""

from rpcb_trio._executors._async import AsyncExecutor, executor_of
from rpcb_trio._executors._model import WARM_UP_TIMEOUT, Model, refuse_missing_device
from rpcb_trio._executors._process import ProcessExecutor
from rpcb_trio._executors._protocol import Closable, DiedTogether, Executor, Sink, Streaming
from rpcb_trio._executors._thread import ThreadExecutor

__all__ = [
    "WARM_UP_TIMEOUT",
    "AsyncExecutor",
    "Closable",
    "DiedTogether",
    "Executor",
    "Model",
    "ProcessExecutor",
    "Sink",
    "Streaming",
    "ThreadExecutor",
    "executor_of",
    "refuse_missing_device",
]
