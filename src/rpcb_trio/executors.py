"""What runs `infer`: a thread, a process of its own, a task where it is async, or one of yours."""

from rpcb_trio._executors import AsyncExecutor, Closable, Executor, ProcessExecutor, ThreadExecutor
from rpcb_trio._public import publish

__all__ = ["AsyncExecutor", "Closable", "Executor", "ProcessExecutor", "ThreadExecutor"]

publish(__name__)
