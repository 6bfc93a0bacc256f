"""The replacement of an executor's process by a fresh one, before it has grown too old or too large.

The fresh one warms up, in a thread, while the other computes, and takes its place between two batches. One
process at a time is replaced among all executors here, so that there is memory for one more at most.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import trio

from rpcb_trio._backoff import Backoff
from rpcb_trio._bounds import COUNT
from rpcb_trio._executors._handle import Process
from rpcb_trio._process_memory import memory_of
from rpcb_trio.errors import SettingError

FIRST_RETRY, LAST_RETRY = 60.0, 3600.0
"""Seconds: the longest wait before a fresh process is tried again, where the first one failed, and ever."""

log = logging.getLogger("rpcb_trio")

_turn = threading.Lock()
"""Is held from the start of a fresh process until the one before it has ended, or the fresh one."""


class Recycling:
    """Says when a process is to be replaced, and has the fresh one.

    Args:
        start: starts a process, which is not warmed up yet.
        take_over: is called on the event loop once a fresh one is warm; see `taken`.
        name: for the log.
        max_batches: after how many runs of `infer`; None for any number.
        max_memory: above how many bytes of resident memory, as the kernel counts them; None for any number.
        warm_up_timeout: seconds.

    Raises:
        SettingError: a limit is wrong, or the system does not tell the memory of a process.
    """

    def __init__(
        self,
        start: Callable[[], Process],
        take_over: Callable[[], None],
        *,
        name: str,
        max_batches: int | None,
        max_memory: int | None,
        warm_up_timeout: float,
    ) -> None:
        COUNT.check("max_batches", max_batches)
        COUNT.check("max_memory", max_memory)
        if max_memory is not None and memory_of(os.getpid()) is None:
            raise SettingError("max_memory needs Linux, where /proc tells a process's memory; leave it out")
        self._start = start
        self._take_over = take_over
        self._name = name
        self._max_batches = max_batches
        self._max_memory = max_memory
        self._warm_up_timeout = warm_up_timeout
        self._batches = 0
        self._next: Process | None = None
        self._is_warm = False
        self._due = 0.0
        self._waits = Backoff(FIRST_RETRY, LAST_RETRY)
        self._not_before = -1.0
        self._has_warned = False

    def begun(self) -> None:
        """Learn that a process was started anew, after another had died."""
        self._batches = 0

    def refuse_too_large(self, process: Process) -> None:
        """Look whether a process that is merely warm exceeds `max_memory`.

        Raises:
            SettingError: it does, so it would be replaced for ever.
        """
        if self._max_memory is not None and (size := memory_of(process.pid) or 0) > self._max_memory:
            raise SettingError(
                f"max_memory is {self._max_memory} bytes, but the executor's process has {size} once its "
                "model is warm; raise max_memory well above that"
            )

    def computed(self, process: Process) -> None:
        """Learn of a run of `infer`; it may be the last before a fresh process begins to warm up."""
        if (self._max_batches is None and self._max_memory is None) or not process.is_alive:
            return
        self._batches += 1
        if self._next is None:
            if why := self._why(process):
                self._begin(why)
        elif not self._is_warm and trio.current_time() > self._due:
            trio.lowlevel.start_thread_soon(self._next.end, _ignore)  # its own thread notices

    def taken(self, former: Process | None) -> Process | None:
        """The fresh process in the place of the former, which is ended; None while none is warm."""
        if not self._is_warm:
            return None
        fresh, self._next, self._is_warm = self._next, None, False
        log.info("%s: its process is replaced by a fresh one after %d batches", self._name, self._batches)
        self._batches = 0
        if former is None:
            _turn.release()
        else:
            trio.lowlevel.start_thread_soon(former.end, _give_turn_back)
        return fresh

    def given_up(self) -> Process | None:
        """The fresh one, if there is one, to be ended: it is needed no more."""
        fresh, self._next, self._is_warm = self._next, None, False
        if fresh is not None:
            _turn.release()
        return fresh

    def _why(self, process: Process) -> str | None:
        if self._max_batches is not None and self._batches >= self._max_batches:
            return f"it has computed {self._batches} batches (max_batches)"
        if self._max_memory is None or (size := memory_of(process.pid) or 0) <= self._max_memory:
            return None
        if self._batches == 1:  # a fresh one would be no smaller
            if not self._has_warned:
                log.warning(
                    "%s: its process has %d bytes after one batch, more than max_memory; raise it",
                    self._name,
                    size,
                )
            self._has_warned = True
            return None
        return f"it has {size} bytes (max_memory)"

    def _begin(self, why: str) -> None:
        now = trio.current_time()
        if now < self._not_before or not _turn.acquire(blocking=False):
            return
        log.info("%s: a fresh process warms up, for %s", self._name, why)
        try:
            fresh = self._start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the present one goes on
            self._fail(error)
            return
        self._next, self._due = fresh, now + self._warm_up_timeout
        token = trio.lowlevel.current_trio_token()

        def deliver(ended: Any) -> None:
            try:
                token.run_sync_soon(self._prepared, fresh, ended)
            except trio.RunFinishedError:
                self.given_up()
                fresh.end()

        trio.lowlevel.start_thread_soon(fresh.prepare, deliver, self._name)

    def _prepared(self, fresh: Process, ended: Any) -> None:
        if fresh is not self._next:  # it was closed meanwhile
            return
        try:
            ended.unwrap()
        except Exception as error:  # noqa: BLE001 - whatever it is, the present one goes on
            self._next = None
            fresh.end()
            self._fail(error)
        else:
            self._is_warm = True
            self._waits = Backoff(FIRST_RETRY, LAST_RETRY)
            self._take_over()

    def _fail(self, error: BaseException) -> None:
        _turn.release()
        wait = self._waits.after(0)
        self._not_before = trio.current_time() + wait
        log.warning(
            "%s: a fresh process can't be warmed up, so the present one goes on (%s); next attempt in %.0f s",
            self._name,
            error,
            wait,
        )


def _give_turn_back(_: object) -> None:
    _turn.release()


def _ignore(_: object) -> None:
    pass
