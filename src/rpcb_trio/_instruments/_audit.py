"""The instrument that records which requests were batched together, for a replay by another policy."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import msgspec
import trio

from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._instruments._records import (
    SCHEMA,
    AuditBatch,
    AuditLine,
    AuditRefused,
    AuditRequest,
    AuditStart,
)
from rpcb_trio._messages import Answer, Batch, Request, Run, Settled, caller_hash
from rpcb_trio._shares import Shares
from rpcb_trio._shown import shown
from rpcb_trio._tracing import ids_of
from rpcb_trio.errors import BrokerError, OutcomeError, SettingError

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC

LONGEST_NAME = 255
LONGEST_WHY = 64


def new_start() -> str:
    """A random id for one start of a worker; another may have the same host name and process id."""
    return secrets.token_hex(4)


class AuditInstrument(Instrument):
    """Appends to a file, as JSON lines: each batch with its requests, and each request that was not computed.

    `read_audit` reads them back and documents the fields. A request takes some 250 bytes, and nothing is ever
    removed. The file may be renamed at any time; then a new one is begun (concatenate them for `read_audit`).

    Writing may block, so lines are gathered, and written together once replies have been confirmed: callers
    do not wait for it. What is gathered is bounded as the unanswered requests are. The file is opened for
    each write and appended to in one piece, so several workers, of one process or of several, may share it.
    Only this user may read it, unless it existed before. Put it on a local disk. What a worker had gathered
    when it was killed is lost, as its replies are. On a full disk this instrument ends, with a line in the
    log; the worker goes on.

    Args:
        file: the file; created if it does not exist, in a directory that does.
        worker: the worker's name in each line.
        start: the id of this start, which events carry too; random if left out.
        shares: what the worker's tenants share it by, to record whose each request is.

    Raises:
        SettingError: the file can't be written.
    """

    def __init__(
        self,
        file: Path | str,
        worker: str = "worker",
        *,
        start: str | None = None,
        shares: Shares | None = None,
    ) -> None:
        self._file = Path(file).absolute()  # the service may change the working directory
        self._worker = shown(worker, LONGEST_NAME)
        self._start = start or new_start()
        self._shares = shares
        self._gathered = bytearray()
        try:
            self._open().close()
        except OSError as error:
            raise SettingError(
                f"audit is {file}, which can't be written ({error.strerror}); "
                "name a file in a directory that is there and yours"
            ) from error

    def worker_started(self, setup: Setup) -> None:
        at = trio.current_time()
        self._gather(
            AuditStart(
                start=self._start, worker=self._worker, unix=_unix(at), at=at, schema=SCHEMA, setup=setup
            )
        )
        self._write()

    def batch_computed(self, batch: Batch, seconds: float, runs: Sequence[Run]) -> None:
        self._gather(
            AuditBatch(
                start=self._start,
                worker=self._worker,
                unix=_unix(batch.closed),
                at=batch.closed,
                id=batch.id,
                trigger=batch.trigger,
                size=batch.size,
                work=batch.work,
                predicted=batch.predicted,
                version=batch.version,
                seconds=seconds,
                runs=tuple(runs),
                requests=tuple(
                    self._request(member.request, member.cost, batch.closed, position, since=member.since)
                    for position, member in enumerate(batch.members)
                ),
            )
        )

    def request_refused(self, request: Request, error: OutcomeError, cost: float | None) -> None:
        at = trio.current_time()
        self._gather(
            AuditRefused(
                start=self._start,
                worker=self._worker,
                unix=_unix(at),
                at=at,
                why=shown(error.code, LONGEST_WHY),
                request=self._request(request, cost, at),
            )
        )

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:  # noqa: ARG002 - the hook's arguments
        self._write()

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - the hook's arguments
        self._write()  # it was computed, though it could not be answered

    def worker_stopped(self, left: int) -> None:  # noqa: ARG002 - the hook's arguments
        self._write()

    def _request(
        self,
        request: Request,
        cost: float | None,
        until: float,
        position: int | None = None,
        *,
        since: float | None = None,
    ) -> AuditRequest:
        arrived = request.arrived if since is None else since
        ids, caller, shares = ids_of(request), request.reply_to, self._shares
        return AuditRequest(
            position=position,
            correlation_id=ids.correlation_id,
            caller=None if caller is None else caller_hash(caller),
            tenant=None if shares is None else shares.shown_tenant(request),
            priority=request.priority,
            cost=cost,
            arrived=arrived,
            deadline=None if request.deadline is None else request.deadline - arrived,
            redelivered=request.redelivered,
            wait=until - arrived,
            request_id=ids.request_id,
            trace_id=ids.trace_id,
        )

    def _gather(self, line: AuditLine) -> None:
        self._gathered += msgspec.json.encode(line) + b"\n"

    def _write(self) -> None:
        if not self._gathered:
            return
        with self._open() as file:
            if file.write(self._gathered) < len(self._gathered):
                raise OSError(errno.ENOSPC, f"{self._file} has no room for a whole line")
        self._gathered.clear()

    def _open(self) -> FileIO:
        """Open it, for this user alone if it is created now, and through no link of another user's."""
        if self._file.is_symlink() and self._file.lstat().st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "it is a symbolic link of another user's")
        return FileIO(os.open(self._file, FLAGS, 0o600), "a")


def _unix(at: float) -> float:
    """A moment on trio's clock as seconds since 1970."""
    return time.time() - (trio.current_time() - at)
