"""What runs `infer`."""

from rpcb_trio._executors._model import run_infer
from rpcb_trio._executors._protocol import Executor
from rpcb_trio._executors._thread import ThreadExecutor

__all__ = ["Executor", "ThreadExecutor", "run_infer"]
