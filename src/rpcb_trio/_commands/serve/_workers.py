"""How a process of workers lives and ends.

1. The workers are started one after another, in one nursery. Once all have started, SIGHUP reloads.
2. The first SIGTERM or SIGINT ends the start of those that are not started, and drains the others.
3. When all have drained, the process ends with 0. A worker whose drain_timeout runs out does not hurry the
   others; the process then ends with the code for it.
4. The second signal cancels all at once, unless it came so soon that it counts as the first; the broker
   redelivers what was held. The process ends with 128 and the signal's number.

A worker that crashes ends the process: the nursery cancels the others, and what they held is redelivered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._signals import Signals
from rpcb_trio._commands.serve._setup import Job
from rpcb_trio._pipeline import Worker
from rpcb_trio.errors import DrainTimeout, WarmUpFailed

log = logging.getLogger("rpcb_trio")


class RunningJobs:
    """The workers of a process."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._starting = trio.CancelScope()
        self._overdue: list[DrainTimeout] = []
        self.by_name: dict[str, Worker] = {}
        """Those that have started."""
        self.ready = trio.Event()
        """All of them have."""

    @property
    def hindrance(self) -> str | None:
        """See `Reloadable`."""
        if self._starting.cancel_called:
            return "the process drains"
        return None if self.ready.is_set() else "not all workers have started; ask again once they have"

    async def run(self, signals: Signals, reload: Callable[[], object]) -> int:
        """Run them until a signal ends them; returns the exit code.

        Raises:
            DrainTimeout: in a group, one for each worker that was not drained in time.
            WarmUpFailed, SettingError, LoginRefused, TopologyMismatch, SessionLost: as `serve`, in groups.
        """
        what = f" {len(self._jobs)} worker(s)"
        return await signals.drain_and_stop(self._serve, self._drain, what, reload=reload)

    async def _serve(self) -> int:
        async with trio.open_nursery() as nursery:
            with self._starting:
                for job in self._jobs:
                    log.info(job.line)
                    self.by_name[job.name] = await nursery.start(self._serve_one, job)
                self.ready.set()
            if self._starting.cancel_called:  # the last to start may have done so at that very moment
                self._drain_started()
        if self._overdue:
            raise ExceptionGroup("not drained in time", self._overdue)
        return ExitCode.DONE

    async def _serve_one(self, job: Job, task_status: trio.TaskStatus[Worker]) -> None:
        try:
            async with job.publishing():
                await job.taken()(task_status=task_status)
        except WarmUpFailed as error:
            log.debug("%s: the traceback", job.name, exc_info=error)
            raise WarmUpFailed(f"{job.name}: {error}") from error
        except DrainTimeout as error:
            log.warning("%s: not drained in time; the others still drain", job.name)
            self._overdue.append(error)

    def _drain(self) -> None:
        self._starting.cancel()
        self._drain_started()

    def _drain_started(self) -> None:
        for worker in self.by_name.values():
            worker.drain()
