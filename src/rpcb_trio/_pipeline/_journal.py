"""The death journal: which requests are being decoded or computed, written where it outlives the process.

1. Before a service's code runs on requests, their identities are written to the worker's file, and cleared
   after it. No fsync: the file is to outlive the process, not the machine.
2. A worker that starts, or that gets a redelivered request, reads what dead workers of its queue have left.
   What ran alone when its worker died has killed it, as far as anybody can know: that is counted. Where
   several ran, they are suspects.
3. What ran in a dead worker runs while nothing else does, so that the next death is no doubt its own.
4. After `max_deaths` of them it runs no more: it goes to the dead letters, and its producer is told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from rpcb_trio._errors import ExecutorHung, KilledWorker, SettingError
from rpcb_trio._messages import Request
from rpcb_trio._pipeline._deaths import COUNT, IDENTITY, DeathRecord, identity

log = logging.getLogger("rpcb_trio")

FRESH = 1.0
"""Seconds for which what was read of the dead is good enough."""


class Journal:
    """Keeps a journal in a directory, with that of all workers that share it.

    A slot is one of the places where a service's code runs: an executor, or a receiver's decoding.

    Args:
        directory: where; made if it is not there.
        queue: whose requests they are.
        slots: how many there are.
        most: requests that run in a slot at once.
        max_deaths: after how many a request runs no more.

    Raises:
        SettingError: the directory can't be written.
    """

    def __init__(self, directory: Path | str, queue: str, *, slots: int, most: int, max_deaths: int) -> None:
        self._max_deaths = max_deaths
        self._slot_size = COUNT + most * IDENTITY
        self._turns = trio.Semaphore(slots, max_value=slots)
        self._slots = slots
        self._lonely = trio.Lock()
        self._collected = trio.current_time()
        try:
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._record = DeathRecord(Path(directory), queue)
            self._file, self._path = self._record.open_file(COUNT + slots * self._slot_size)
            os.pwrite(self._file, self._slot_size.to_bytes(COUNT, "big"), 0)
        except OSError as error:
            raise SettingError(
                f"journal is {directory}, which can't be written ({error.strerror}); "
                "name a directory that is yours, or leave it out"
            ) from error

    def verdict(self, request: Request) -> KilledWorker | None:
        """Why a redelivered request is not to be run any more, from what is known by now, if it is so."""
        if trio.current_time() - self._collected > FRESH:
            with self._bearing_faults():
                self._record.collect()
            self._collected = trio.current_time()
        deaths = self._record.of(request)
        if deaths is None or deaths.alone < self._max_deaths:
            return None
        return KilledWorker(f"it killed the worker {deaths.alone} times")

    @asynccontextmanager
    async def running(self, slot: int, requests: Sequence[Request]) -> AsyncIterator[None]:
        """While it lasts, a service's code runs on these in a slot.

        It is a suspect's turn when nothing else runs. Cancelled, the slot is not cleared.
        """
        turns = self._slots if any(map(self._is_suspect, requests)) else 1
        await self._take(turns)
        try:
            self._write(slot, b"".join([len(requests).to_bytes(COUNT, "big"), *map(identity, requests)]))
            yield
        except (trio.Cancelled, ExecutorHung):
            raise
        except BaseException:
            self.clear(slot)
            raise
        else:
            self.clear(slot)
        finally:
            for _ in range(turns):
                self._turns.release()

    def clear(self, slot: int) -> None:
        """Nothing runs in a slot, not even what was cancelled there and left behind."""
        self._write(slot, bytes(COUNT))

    def close(self, *, hung: bool) -> None:
        """The worker ends; if it `hung`, that counts as a death, and its file is left for others to find."""
        with self._bearing_faults():
            if not hung:
                self._path.unlink(missing_ok=True)
            os.close(self._file)

    def _is_suspect(self, request: Request) -> bool:
        return request.redelivered and self._record.of(request) is not None

    def _write(self, slot: int, content: bytes) -> None:
        with self._bearing_faults():
            os.pwrite(self._file, content, COUNT + slot * self._slot_size)

    @contextmanager
    def _bearing_faults(self) -> Iterator[None]:
        """A worker does not end for want of a journal."""
        try:
            yield
        except OSError as error:
            log.warning("the journal in %s fails: %s", self._path.parent, error)

    async def _take(self, turns: int) -> None:
        """Take one turn, or all; who wants all waits for them alone, or two would wait for each other."""
        if turns == 1:
            await self._turns.acquire()
            return
        async with self._lonely:
            taken = 0
            try:
                for taken in range(turns):  # noqa: B007 - counted for the case that it is cut
                    await self._turns.acquire()
            except BaseException:
                for _ in range(taken):
                    self._turns.release()
                raise
