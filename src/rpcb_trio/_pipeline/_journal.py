"""The death journal: on which requests a service's code runs, in a file that outlives the process.

1. Before that code runs, the identities of its requests are written to the worker's file; after it they are
   cleared. There is no fsync: the file must outlive the process, not the machine.
2. A request that ran alone in a worker that died counts as the cause of that death. Where several ran, they
   are suspects: each runs while nothing else does, so that the next death is counted for it alone.
3. After `max_deaths` of them a request is not run any more: it goes to the dead letters, and its caller gets
   an error reply.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from rpcb_trio._messages import Request
from rpcb_trio._pipeline._deaths import DeathRecord
from rpcb_trio._pipeline._hooks import Offload
from rpcb_trio._pipeline._ledger import identity
from rpcb_trio.errors import BrokerError, DrainTimeout, ExecutorLost, KilledWorker, SettingError

log = logging.getLogger("rpcb_trio")

FRESH, TIMEOUT = 1.0, 5.0
"""Seconds until the files of dead workers are read again; seconds that the directory may take to answer."""
ORDERLY = (trio.Cancelled, KeyboardInterrupt, SettingError, BrokerError, DrainTimeout, ExecutorLost)
"""Ends of a worker that no request caused; an executor counts the deaths of its process itself."""
NO_JOURNAL = (
    "journal is %s, which can't be used (%s), so a request that kills its worker is not found out; name a "
    "directory that is yours alone, or set it to off"
)


class Journal:
    """A worker's journal. While it isn't open, or once it fails, it notes nothing and suspects nothing."""

    def __init__(self, max_deaths: int = 3) -> None:
        self._max_deaths = max_deaths
        self._record: DeathRecord | None = None
        self._collected = 0.0
        self._exclusive = trio.Lock()
        self._turns = 0
        self._turn_ends = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def opened(
        self, directory: Path | str, queue: str, offload: Offload, *, required: bool
    ) -> AsyncIterator[None]:
        """Keep the journal of a queue's worker; what runs at a crash is left there.

        Raises:
            SettingError: the directory can't be used, and is `required`; if not, that is one line in the log.
        """
        self._offload = offload
        record, reason, crashed = None, "it does not answer", False
        with trio.move_on_after(TIMEOUT):
            try:
                record = self._record = await offload(lambda: DeathRecord(Path(directory), queue))
            except OSError as error:
                reason = str(error.strerror)
        if record is None:
            if required:
                raise SettingError(NO_JOURNAL % (directory, reason))
            log.warning(NO_JOURNAL, directory, reason)
        try:
            yield
        except BaseException as error:
            crashed = _is_crash(error)
            raise
        finally:
            self._record = None
            if record is not None:
                with trio.move_on_after(TIMEOUT, shield=True):
                    await offload(lambda: record.close(keep=crashed))

    async def verdict(self, request: Request) -> KilledWorker | None:
        """The error for a redelivered request that must not run any more; None if it may run."""
        with trio.move_on_after(TIMEOUT), self._surviving_faults() as record:
            if record is not None and trio.current_time() - self._collected > FRESH:
                self._collected = trio.current_time()
                await self._offload(record.collect)
        deaths = 0 if record is None else record.deaths.get(identity(request), 0)
        if deaths < self._max_deaths:
            return None
        killed = KilledWorker(f"it killed the worker {deaths} times")
        killed.encodable = deaths == self._max_deaths
        return killed

    def is_suspect(self, request: Request) -> bool:
        """Whether the request ran in a worker that died."""
        return self._record is not None and request.redelivered and identity(request) in self._record.deaths

    @asynccontextmanager
    async def turn(self, requests: Sequence[Request]) -> AsyncIterator[None]:
        """Within it, a service's code may run on these; if one is a suspect, nothing else runs meanwhile."""
        if any(map(self.is_suspect, requests)):
            async with self._exclusive:
                while self._turns:
                    await self._turn_ends.park()
                yield
            return
        if self._exclusive.locked():
            await self._exclusive.acquire()
            self._exclusive.release()  # the next suspect waits for this turn, too
        self._turns += 1
        try:
            yield
        finally:
            self._turns -= 1
            self._turn_ends.unpark_all()

    @contextmanager
    def running(self, requests: Sequence[Request]) -> Iterator[None]:
        """Note requests while a service's code runs on them, in its thread. An error leaves them noted."""
        key = object()
        self.note(key, requests)
        yield
        self.note(key, ())

    def note(self, key: object, requests: Sequence[Request]) -> None:
        """Note the requests on which a service's code runs now; they replace those of the same key."""
        with self._surviving_faults() as record:
            if record is not None:
                record.write(key, b"".join(map(identity, requests)))

    @contextmanager
    def _surviving_faults(self) -> Iterator[DeathRecord | None]:
        """Go on without a journal where writing fails: half a record could blame the wrong request."""
        record = self._record
        try:
            yield record
        except OSError as error:
            if record is not None and record.close(keep=False):
                log.warning(NO_JOURNAL, record.directory, error.strerror)


def _is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_crash, error.exceptions))
    return not isinstance(error, ORDERLY)
