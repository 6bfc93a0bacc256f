"""What a reload changes in a gateway."""

from __future__ import annotations

from ssl import SSLContext
from typing import Any, Protocol

import msgspec
import trio

from rpcb_trio._commands._logs import change_log_level
from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._changes import (
    NOT_SET,
    Change,
    Report,
    changes_between,
    live_of,
    with_live,
)
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._shared import LogSettings
from rpcb_trio._commands._settings._sources import Sources
from rpcb_trio._commands.gateway._route_tables import route_tables
from rpcb_trio._gateway import GatewayOptions, read_routes
from rpcb_trio._shown import shown

LONGEST_ROUTE = 200

IN_FILES = ("api_keys", "jwt_keys")
"""Options that may be others though no setting is: they stand in files."""


class Optioned(Protocol):
    """What goes by the gateway's options."""

    options: GatewayOptions


class GatewayReload:
    """Reads the settings again, and has the gateway go by those that can change while it runs.

    Args:
        sources: where the settings come from.
        drain: is set once the gateway drains.
    """

    def __init__(self, sources: Sources, drain: trio.Event) -> None:
        self._sources = sources
        self._drain = drain
        self._settings, self._logs, self._routes = _tables(sources)
        self._served: Optioned
        self._tls: SSLContext | None = None
        self.ready = trio.Event()

    def begin(self, served: Optioned, tls: SSLContext | None = None) -> None:
        """Have its options changed from now on, and its certificate read again."""
        self._served = served
        self._tls = tls
        self.ready.set()

    @property
    def hindrance(self) -> str | None:
        """See `Reloadable`."""
        if self._drain.is_set():
            return "the process drains"
        return None if self.ready.is_set() else "it has not started; ask again once it has"

    async def __call__(self) -> Report:
        """Change what can change.

        Raises:
            SettingError: something is wrong; nothing was changed.
        """
        settings, options, logs, routes = await trio.to_thread.run_sync(self._read)
        changes = [*changes_between(None, self._settings, settings), *changes_between(None, self._logs, logs)]
        for name in {**self._routes, **routes}:
            before, after = self._routes.get(name), routes.get(name)
            if before != after:
                changes.append(Change(None, f"routes.{name}", _shown(before), _shown(after), "restart"))
        former = self._served.options
        is_told = any(each.setting.startswith("api_key") for each in changes)
        if former.api_keys != options.api_keys and not is_told:
            old, new = (f"{len(each.api_keys)} key(s)" for each in (former, options))
            changes.append(Change(None, "api_key_file", old, new, "live"))
        live = {*live_of(self._settings, settings), *IN_FILES}.intersection(GatewayOptions.__struct_fields__)
        self._served.options = msgspec.structs.replace(
            former, **{name: getattr(options, name) for name in live}
        )
        self._settings = with_live(self._settings, settings)
        self._logs = change_log_level(self._logs, logs)
        kinds = (GatewaySettings, LogSettings)
        unchanged = (
            sum(len(declared(each)) for each in kinds) + len({**self._routes, **routes}) - len(changes)
        )
        return Report(changes=tuple(changes), unchanged=unchanged)

    def _read(self) -> tuple[GatewaySettings, GatewayOptions, LogSettings, dict[str, dict[str, Any]]]:
        sources: Sources = self._sources.again().arguments["sources"]
        settings, logs, routes = _tables(sources)
        options, _ = settings.options, read_routes(routes)  # what a start would refuse
        if self._tls is not None:
            self._settings.renew(self._tls)
        return settings, options, logs, routes


def _tables(sources: Sources) -> tuple[GatewaySettings, LogSettings, dict[str, dict[str, Any]]]:
    given = sources.given.arguments
    settings = anchored(given["settings"], sources.origin.directory)
    return settings, given["logs"], route_tables(sources.file.routes, settings)


def _shown(route: object) -> str:
    return (
        NOT_SET if route is None else shown(msgspec.json.encode(route, enc_hook=str).decode(), LONGEST_ROUTE)
    )
