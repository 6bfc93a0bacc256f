"""Jobs of gateways: what each is, and its reply, in files. Gateways that have one place share their jobs.

A job's id begins with the time at which it was made, so that its files need no other record of their age.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import anyio
import msgspec

from rpcb_trio._files import Files
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._messages import Reply
from rpcb_trio._shown import shown

log = logging.getLogger("rpcb_trio")

ID = re.compile(r"[0-9a-f]{8}[A-Za-z0-9_-]{32}", re.ASCII)
TIME_DIGITS, RANDOM_BYTES = 8, 24

JOB, REPLY, CALLBACK = ".job", ".reply", ".callback"
"""How the files of a job end: what it is, its reply, where to tell of that."""

INBOX = "inbox"
"""The file with the name of the queue for the replies, the same for all gateways that share the place."""

INBOX_PREFIX = "rpcb-jobs."

DONE_FOR_EACH = 10
"""So many jobs that are done are kept for each that may be open."""

PATIENCE = 60.0
"""Seconds for an operation on a large file."""

SHORTEST_SWEEP, LONGEST_SWEEP = 1.0, 60.0
"""Seconds from one look at all files to the next."""

T = TypeVar("T")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job from its beginning."""

    name: str
    """Of its route, or of its queue."""
    request_id: str
    url: str
    """Where it is asked for."""
    callback: str | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A job's reply, and when it came (as `time.time()`)."""

    body: bytes
    headers: Mapping[str, str | int | float]
    content_type: str
    finished: float

    @property
    def reply(self) -> Reply:
        """As it came, but for headers that are no plain values."""
        return Reply(body=self.body, headers=self.headers, content_type=self.content_type)

    @classmethod
    def of(cls, reply: Reply) -> Kept:
        """The reply, as it comes now."""
        plain = {name: value for name, value in reply.headers.items() if isinstance(value, str | int | float)}
        content_type = reply.content_type or "application/octet-stream"
        return cls(body=reply.body, headers=plain, content_type=content_type, finished=time.time())


class JobStore:
    """Keeps jobs and their replies within bounds of number, bytes and time; within `opened`.

    Args:
        where: a directory, or a URL for fsspec.
        options: gives those of the gateway, as they are now.
    """

    def __init__(self, where: str, options: Callable[[], GatewayOptions]) -> None:
        self._now = options
        self._files = Files(where, setting="jobs")
        self._sizes: dict[str, int] = {}
        """Bytes of each file, as far as this gateway knows."""
        self._since: dict[str, int | None] = {}
        """What has changed since the last look at all files began; None for what was deleted."""
        self.inbox = ""
        """The queue for the replies."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the place, and remove what is overdue until the end.

        Raises:
            SettingError: it can't be used.
        """
        await anyio.to_thread.run_sync(self._files.open)
        try:
            self.inbox = await self._files.aside(self._named_inbox)
            await self.sweep()
        except OSError as error:
            raise self._files.unusable(error) from error
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sweep_for_ever)
            yield
            tasks.cancel_scope.cancel()

    @property
    def _options(self) -> GatewayOptions:
        return self._now()

    @property
    def open_jobs(self) -> int:
        """How many have no reply yet."""
        return sum(map(self._is_open, tuple(self._sizes)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(tuple(self._sizes.values()))

    def expires(self, job: str) -> float:
        """When a job is removed, as `time.time()`."""
        return int(job[:TIME_DIGITS], 16) + self._options.jobs_ttl

    def made(self, job: str) -> float:
        """When it was made, likewise."""
        return float(int(job[:TIME_DIGITS], 16))

    def new_id(self) -> str:
        """An id that nobody can guess."""
        return f"{int(time.time()):0{TIME_DIGITS}x}{secrets.token_urlsafe(RANDOM_BYTES)}"

    def check_room(self) -> None:
        """Refuse a job where there are too many, or too much is kept.

        Raises:
            Problem: 429 or 507.
        """
        options = self._options
        if (count := self.open_jobs) >= options.jobs_max:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-jobs",
                f"{count} jobs wait for their replies, and jobs_max is {options.jobs_max}; try again later",
                headers={"retry-after": str(options.retry_after)},
            )
        if (size := self.size) >= options.jobs_size:
            why = f"replies of jobs take {size} bytes, and jobs_size is {options.jobs_size}"
            raise Problem(
                HTTPStatus.INSUFFICIENT_STORAGE, "jobs", f"{why}; delete jobs that are done, or try later"
            )

    async def enter(self, job: str, facts: Job) -> None:
        """Keep what a job is.

        Raises:
            Problem: 507, it can't be written.
        """
        try:
            await self._put(job + JOB, msgspec.msgpack.encode(facts))
            if facts.callback is not None:
                await self._put(job + CALLBACK, b"")
        except OSError as error:
            log.warning("jobs: %s can't be written: %s", self._files.root, error)
            raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, "jobs", "the job can't be written") from error

    async def facts(self, job: str) -> Job:
        """What a job is.

        Raises:
            Problem: 404, there is no such job; 410, there is no longer; 503, the place can't be read.
        """
        gone = Problem(HTTPStatus.NOT_FOUND, "no-job", "there is no such job, or it was deleted")
        if not ID.fullmatch(job):
            raise gone
        if self.expires(job) <= time.time():
            why = f"jobs are kept for {self._options.jobs_ttl:g} s (jobs_ttl)"
            raise Problem(HTTPStatus.GONE, "expired-job", why)
        found = await self._found(job + JOB, Job)
        if found is None:
            raise gone
        return found

    async def kept(self, job: str) -> Kept | None:
        """Its reply; None where there is none yet.

        Raises:
            Problem: 503, the place can't be read.
        """
        return await self._found(job + REPLY, Kept)

    async def has_reply(self, job: str) -> bool:
        """Whether its reply is there. What can't be read is taken for none."""
        try:  # not by its size: a file system may answer that by what it has listed before
            return bool(await self._files.aside(partial(self._files.get, job + REPLY, 0, 1)))
        except OSError:
            return False

    async def finish(self, job: str, reply: Reply) -> Job | None:
        """Keep a job's reply, if it is the first, and return what the job is. None where nobody waits for it.

        Raises:
            OSError: it can't be written.
        """
        try:
            facts = await self.facts(job)
        except Problem as problem:
            if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise OSError(problem.detail) from problem
            return None
        if await self.has_reply(job):
            return None
        await self._put(job + REPLY, msgspec.msgpack.encode(Kept.of(reply)))
        await self._make_room(job)
        return facts

    def to_tell(self) -> list[str]:
        """The jobs that are done, whose callbacks have not been told."""
        ended = [name.removesuffix(CALLBACK) for name in self._sizes if name.endswith(CALLBACK)]
        return [job for job in ended if job + REPLY in self._sizes]

    async def told(self, job: str) -> None:
        """Have a job's callback told no more."""
        await self._delete(job + CALLBACK)

    async def drop(self, job: str) -> None:
        """Remove a job, and its reply."""
        for ending in (JOB, CALLBACK, REPLY):  # a reply that comes meanwhile finds no job
            await self._delete(job + ending)

    async def sweep(self) -> None:
        """Look at all files, other gateways' too, and remove those of jobs that are overdue.

        Raises:
            OSError: they can't be listed.
        """
        self._since.clear()
        listed = await self._files.aside(self._files.found, PATIENCE)
        sizes: dict[str, int | None] = {name: found.size for name, found in listed.items()}
        sizes |= self._since
        self._sizes = {
            name: size
            for name, size in sizes.items()
            if size is not None and ID.fullmatch(name.partition(".")[0])
        }
        now = time.time()
        for name in list(self._sizes):
            if self.expires(name) <= now:
                await self._delete(name)

    async def _sweep_for_ever(self) -> None:
        while True:
            pause = min(max(self._options.jobs_ttl / 4, SHORTEST_SWEEP), LONGEST_SWEEP)
            await anyio.sleep(pause)
            try:
                await self.sweep()
            except OSError as error:
                log.warning("jobs: %s can't be read: %s", self._files.root, error)

    async def _make_room(self, kept: str) -> None:
        """Remove the oldest jobs that are done while all take too much, or are too many; but not this one."""
        done = sorted(name for name in self._sizes if name.endswith(REPLY))
        surplus, too_big = (
            len(done) - DONE_FOR_EACH * self._options.jobs_max,
            self.size - self._options.jobs_size,
        )
        for name in done:
            if surplus <= 0 and too_big <= 0:
                return
            job = name.removesuffix(REPLY)
            if job != kept:
                log.warning("jobs: job %s and its reply are removed: there is no room", shown_id(job))
                surplus, too_big = surplus - 1, too_big - self._sizes[name]
                await self.drop(job)

    def _is_open(self, name: str) -> bool:
        return name.endswith(JOB) and name.removesuffix(JOB) + REPLY not in self._sizes

    def _named_inbox(self) -> str:
        """Made by the first gateway that has the place, and read by all."""
        with suppress(FileNotFoundError):
            return self._files.get(INBOX).decode()
        self._files.replace(INBOX, f"{INBOX_PREFIX}{secrets.token_urlsafe(RANDOM_BYTES)}".encode())
        return self._files.get(INBOX).decode()

    async def _found(self, name: str, kind: type[T]) -> T | None:
        try:
            content = await self._files.aside(partial(self._files.get, name), PATIENCE)
            return msgspec.msgpack.decode(content, type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("jobs: %s can't be read: %s", self._files.root, error)
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "jobs", "the job can't be read; try again later"
            ) from error

    async def _put(self, name: str, content: bytes) -> None:
        self._note(name, len(content))
        try:
            await self._files.aside(partial(self._files.replace, name, content), PATIENCE)
        except OSError:
            self._note(name, None)
            raise

    async def _delete(self, name: str) -> None:
        try:
            await self._files.aside(partial(self._files.delete, name))
        except FileNotFoundError:
            pass  # another gateway did it, or it was never there
        except OSError as error:
            log.warning("jobs: %s/%s can't be removed: %s", self._files.root, shown_id(name), error)
            return
        self._note(name, None)

    def _note(self, name: str, size: int | None) -> None:
        self._since[name] = size
        if size is None:
            self._sizes.pop(name, None)
        else:
            self._sizes[name] = size


def shown_id(job: str) -> str:
    """An id as a log may show it: whoever knows all of it gets the reply."""
    return shown(f"{job[: TIME_DIGITS + 4]}...")
