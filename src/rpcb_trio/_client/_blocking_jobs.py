"""Jobs, for programs that are not async."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from rpcb_trio._client._client import RpcClient
from rpcb_trio._client._jobs import DAY, JobStatus
from rpcb_trio._messages import NO_HEADERS, Reply

T = TypeVar("T")


class BlockingJobCalls:
    """What a blocking client does with jobs."""

    def _within(self, timeout: float, call: Callable[..., Coroutine[Any, Any, T]]) -> T:
        raise NotImplementedError

    def submit(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        keep: float = DAY,
        expiration: float = math.inf,
        timeout: float = 30.0,
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int = 0,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Submit a job, and return its id once the broker has stored it; see `RpcClient.submit`.

        Raises:
            LoginRefused, SessionLost: as `call`.
            CallError, SettingError: as `RpcClient.submit`.
        """
        submit = partial(
            RpcClient.submit,
            body=body,
            queue=queue,
            exchange=exchange,
            routing_key=routing_key,
            keep=keep,
            expiration=expiration,
            headers=headers,
            priority=priority,
            content_type=content_type,
        )
        return self._within(timeout, submit)

    def result(self, job: str, *, timeout: float = 30.0) -> Reply:
        """Block until the reply to a job is there, and return it; see `RpcClient.result`.

        Raises:
            LoginRefused, SessionLost: as `call`.
            CallError, SettingError: as `RpcClient.result`.
        """
        return self._within(timeout, partial(RpcClient.result, job=job))

    def status(self, job: str, *, timeout: float = 30.0) -> JobStatus:
        """What is known of a job; see `RpcClient.status`.

        Raises:
            LoginRefused, SessionLost: as `call`.
            CallError, SettingError: as `RpcClient.status`.
        """
        return self._within(timeout, partial(RpcClient.status, job=job))

    def forget(self, job: str, *, timeout: float = 30.0) -> None:
        """Delete a job's reply, now or once it comes; see `RpcClient.forget`.

        Raises:
            LoginRefused, SessionLost: as `call`.
            CallError, SettingError: as `RpcClient.forget`.
        """
        self._within(timeout, partial(RpcClient.forget, job=job))
