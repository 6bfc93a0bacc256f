"""Webhooks: when a job is done, the URL that its client named is told, again and again until it says 2xx.

A message is signed as Standard Webhooks has it (standardwebhooks.com), so receivers have libraries for it. It
holds no reply: whoever is told asks for that. No redirect is followed, and no origin is asked that the
operator has not named: a client could have the gateway ask what only the gateway reaches.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio.abc import TaskGroup

from rpcb_trio._backoff import Backoff
from rpcb_trio._gateway._job_store import JobStore, shown_id
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("rpcb_trio")

FIRST_RETRY, LAST_RETRY = 5.0, 3600.0
"""Seconds: the longest waits before the first further attempt, and before any."""

TIMEOUT = 15.0
"""Seconds for one attempt."""

AT_ONCE = 16
"""Attempts at once."""

LONGEST_URL = 2048
SECRET_PREFIX = "whsec_"  # noqa: S105 - as it says
SHORTEST_SECRET = 24
"""Bytes, as Standard Webhooks has it."""

MAKE_ONE = 'python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())" makes one'


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """What the header `webhook-signature` says: HMAC-SHA256 over id, time stamp and body."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def read_secret(text: str) -> bytes:
    """The key in a secret, which is base64, with `whsec_` before it or without.

    Raises:
        SettingError: it is none; the error does not show it.
    """
    try:
        written = text.strip().removeprefix(SECRET_PREFIX).rstrip("=")
        secret = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except ValueError:
        raise SettingError(f"jobs_secret is no base64; {MAKE_ONE}") from None
    if len(secret) < SHORTEST_SECRET:
        raise SettingError(
            f"jobs_secret has {len(secret)} bytes, and must have at least {SHORTEST_SECRET}; {MAKE_ONE}"
        )
    return secret


Outcome = Callable[[str], Awaitable[str]]
"""How a job has ended: `done` or `failed`."""


class Webhooks:
    """Tells of jobs that are done, within `running`.

    Args:
        store: has the jobs, and what is still to be told.
        options: of the gateway: which origins may be told, and the secret.
        outcome: how a job has ended.

    Raises:
        SettingError: there is no secret, or httpx is not installed.
    """

    def __init__(self, store: JobStore, options: GatewayOptions, outcome: Outcome) -> None:
        self._store = store
        self._outcome = outcome
        self._origins = frozenset(map(origin_of, options.jobs_callback))
        self._telling: set[str] = set()
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._secret = b""
        self._tasks: TaskGroup
        self._http: httpx.AsyncClient
        if self._origins:
            if options.jobs_secret is None:
                raise SettingError(f"jobs_callback needs jobs_secret, to sign with; {MAKE_ONE}")
            self._secret = read_secret(options.jobs_secret)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell until the end; what is not told then is told by the next gateway."""
        if not self._origins:
            yield
            return
        import httpx  # noqa: PLC0415 - it takes long, and most need none

        async with (
            httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as self._http,
            anyio.create_task_group() as self._tasks,
        ):
            yield
            self._tasks.cancel_scope.cancel()

    def check(self, url: str) -> str:
        """The URL, as it will be asked.

        Raises:
            Problem: 400, it is none, or its origin may not be asked.
        """
        try:
            origin = origin_of(url)
        except SettingError as error:
            raise _refused(str(error)) from None
        if len(url) > LONGEST_URL or origin not in self._origins:
            why = f"{shown(origin, 100)} may not be told; start the gateway with --jobs-callback ORIGIN"
            raise _refused(why)
        return url

    def tell(self, job: str) -> None:
        """Begin to tell of a job that is done."""
        if self._origins and job not in self._telling:
            self._telling.add(job)
            self._tasks.start_soon(self._tell, job)

    async def _tell(self, job: str) -> None:
        try:
            await self._tell_until_taken(job)
        finally:
            self._telling.discard(job)

    async def _tell_until_taken(self, job: str) -> None:
        backoff, has_warned = Backoff(FIRST_RETRY, LAST_RETRY), False
        while True:
            try:
                async with self._limiter:
                    why = await self._attempt(job)
            except Problem:  # the job was deleted, or is overdue
                return
            if why is None:
                await self._store.told(job)
                return
            if not has_warned:
                log.warning("jobs: the callback of job %s is tried again: %s", shown_id(job), why)
            has_warned = True
            await backoff.wait()

    async def _attempt(self, job: str) -> str | None:
        """Tell once. None where that was taken, or never will be; else why not."""
        import httpx  # noqa: PLC0415 - see above

        facts = await self._store.facts(job)
        if facts.callback is None or origin_of(facts.callback) not in self._origins:
            return None  # the origin was allowed once
        status = await self._outcome(job)
        data = {"id": job, "name": facts.name, "status": status, "url": facts.url}
        now = time.time()
        body = msgspec.json.encode(
            {"type": f"job.{status}", "timestamp": datetime.fromtimestamp(now, UTC), "data": data}
        )
        headers = {
            "content-type": "application/json",
            "webhook-id": job,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signature(self._secret, job, int(now), body),
        }
        try:
            async with self._http.stream("POST", facts.callback, content=body, headers=headers) as response:
                answered = response.status_code  # its body is not read
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return shown(f"{type(error).__name__}: {error}", 200)
        if answered == HTTPStatus.GONE or HTTPStatus.OK <= answered < HTTPStatus.MULTIPLE_CHOICES:
            return None
        return f"it answered {answered}"


def origin_of(url: str) -> str:
    """Scheme, host and port, as httpx reads them, which asks that URL later.

    Raises:
        SettingError: it is no URL of HTTP, or has a user in it.
    """
    try:
        import httpx  # noqa: PLC0415 - see above
    except ImportError:
        raise SettingError("jobs_callback needs httpx; install it with pip install httpx") from None
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise SettingError(f"{shown(url, 100)} is no URL") from None
    if read.scheme not in ("http", "https") or not read.host or read.userinfo:
        raise SettingError(f"{shown(url, 100)} is no URL as https://example.org/path, without a user")
    port = "" if read.port is None else f":{read.port}"
    return f"{read.scheme}://{read.host.lower()}{port}"


def _refused(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "callback", why)
