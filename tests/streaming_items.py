"""A service whose items say what becomes of their streams, for executors in a thread or in a process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from rpcb_trio._executors._relay import AHEAD
from rpcb_trio.streaming import END, Step


class Streaming:
    """An item is a number of parts, or the name of a fault."""

    is_ahead: threading.Event
    """Set once it is as far ahead as it may be."""

    def __init__(self) -> None:
        self.computed = 0
        self.closed = 0
        self.is_ahead = threading.Event()
        self.threads = set[int]()

    def decode(self, body: bytes) -> Any:
        return body

    def encode(self, outcome: Any) -> bytes:
        return repr(outcome).encode()

    def join(self, parts: list[Any]) -> list[Any]:
        return parts

    def stream_infer(self, items: list[Any]) -> Iterator[Step[Any]]:
        if len(items) > 1 and "die together" in items:
            os.kill(os.getpid(), signal.SIGKILL)
        most = max((item for item in items if isinstance(item, int)), default=1)
        try:
            for number in range(most):
                self.computed += 1
                if self.computed > AHEAD:
                    self.is_ahead.set()
                self.threads.add(threading.get_ident())
                live = {
                    item: each
                    for item, each in enumerate(items)
                    if not isinstance(each, int) or number <= each
                }
                yield {item: END if number == each else part(each, number) for item, each in live.items()}
        finally:
            self.closed += 1
            self.threads.add(threading.get_ident())


def part(item: Any, number: int) -> Any:
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "hang":
        time.sleep(5)
    if item == "raise":
        raise ZeroDivisionError
    if item == "unpicklable":
        return threading.Lock()
    return f"{item}.{number}"
