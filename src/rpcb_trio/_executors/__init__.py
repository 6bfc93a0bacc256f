"""What runs `infer`."""

from rpcb_trio._executors._async import AsyncExecutor, executor_of
from rpcb_trio._executors._model import WARM_UP_TIMEOUT, refuse_missing_device
from rpcb_trio._executors._process import ProcessExecutor
from rpcb_trio._executors._protocol import Closable, Executor
from rpcb_trio._executors._thread import ThreadExecutor

__all__ = [
    "WARM_UP_TIMEOUT",
    "AsyncExecutor",
    "Closable",
    "Executor",
    "ProcessExecutor",
    "ThreadExecutor",
    "executor_of",
    "refuse_missing_device",
]
