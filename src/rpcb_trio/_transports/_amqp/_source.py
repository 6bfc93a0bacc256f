"""Where a broker's URL comes from, and how a password that changes reaches the connections that are open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import anyio

from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._url import Address, parse_url
from rpcb_trio.errors import SessionLost, SettingError

_log = logging.getLogger(__name__)


class UrlSource:
    """A URL, or a function that is asked for it whenever it is needed.

    Raises:
        SettingError: the URL can't be right, or the function raised.
    """

    def __init__(self, url: str | Callable[[], str], *, heartbeat: int) -> None:
        self._heartbeat = heartbeat
        self._ask = None if isinstance(url, str) else url
        self.address = parse_url(url if isinstance(url, str) else _asked(url), heartbeat=heartbeat)
        """As it was last known."""

    @property
    def changes(self) -> bool:
        """Whether it may be another one later."""
        return self._ask is not None

    async def fresh(self) -> Address:
        """The address as it is now; the function is asked in a thread.

        Raises:
            SettingError: see the class.
        """
        if self._ask is not None:
            url = await anyio.to_thread.run_sync(_asked, self._ask)
            self.address = parse_url(url, heartbeat=self._heartbeat)
        return self.address

    async def renew(self, connections: Collection[Connection], interval: float) -> None:
        """Each `interval` seconds, renew a password that has changed on every open connection."""
        while True:
            await anyio.sleep(interval)
            try:
                password = (await self.fresh()).url.password
            except SettingError as exc:
                _log.warning("the connections keep their password: %s", exc)
                continue
            for connection in tuple(connections):
                await _renew(connection, password)


async def _renew(connection: Connection, password: str | None) -> None:
    if password is None or not connection.is_open:
        return
    try:
        if await connection.plane.renew(password):
            _log.info("the broker was told a new password")
    except SessionLost as exc:  # whoever uses the connection learns of it too
        _log.warning("the broker did not take a new password: %s", exc)


def _asked(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except SettingError:
        raise
    except Exception as exc:  # noqa: BLE001 - it is anyone's function
        # What it says may hold what it was asked for.
        raise SettingError(f"url could not be had: its function raised {type(exc).__name__}") from None
