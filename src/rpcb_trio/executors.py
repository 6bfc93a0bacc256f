"""What runs `infer`: a thread, a process of its own, or one of yours."""

from rpcb_trio._executors import Closable, Executor, ProcessExecutor, ThreadExecutor
from rpcb_trio._public import publish

__all__ = ["Closable", "Executor", "ProcessExecutor", "ThreadExecutor"]

publish(__name__)
