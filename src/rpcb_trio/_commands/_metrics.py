"""Whether a process has metrics, and the registry that it counts for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rpcb_trio._instruments import Instrument
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rpcb_trio")

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder that several processes count into. prometheus_client reads it when it is imported, here
and in each of them."""


@contextmanager
def counting(asked: bool | None, *, processes: bool = False) -> Iterator[CollectorRegistry | None]:  # noqa: FBT001 - the setting
    """The registry to count for; None where there are to be no metrics.

    Enter it before services are loaded, for these may count, too.

    Args:
        asked: the setting; None for metrics where prometheus_client is installed.
        processes: whether services run in processes of their own.

    Raises:
        SettingError: metrics are asked for, and prometheus_client is not installed; or the folder is none.
    """
    if asked is False or (asked is None and find_spec("prometheus_client") is None):
        yield None
        return
    given = os.environ.get(VARIABLE)
    with _own_folder() if processes and given is None else nullcontext() as own:
        yield _registry(own or given, is_own=own is not None)


def counting_for(registry: CollectorRegistry | None) -> list[Instrument]:
    """The instrument of a worker that counts for this registry, if there is one."""
    if registry is None:
        return []
    from rpcb_trio._metrics import MetricsInstrument  # noqa: PLC0415 - an extra

    return [MetricsInstrument(registry)]


def _registry(folder: str | None, *, is_own: bool) -> CollectorRegistry:
    try:
        from rpcb_trio._metrics import REGISTRY, registry_of_processes  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise SettingError(
            f"metrics needs {error.name}; install it with pip install 'rpcb-trio[metrics]', or leave metrics "
            "out"
        ) from error
    if folder is None:
        return REGISTRY
    if not Path(folder).is_dir():
        raise SettingError(f"{VARIABLE} is {folder}, which is no directory; make it, or unset the variable")
    return registry_of_processes(Path(folder), is_own=is_own)


@contextmanager
def _own_folder() -> Iterator[str | None]:
    """A folder to count into; None, with a line in the log, where there can be none."""
    try:
        folder = TemporaryDirectory(prefix="rpcb-trio-metrics-")
    except OSError as error:
        log.warning(
            "there is no temporary directory (%s), so /metrics lacks what services count in processes of "
            "their own; set TMPDIR to a directory that can be written",
            error.strerror,
        )
        yield None
        return
    with folder:
        os.environ[VARIABLE] = folder.name
        try:
            yield folder.name
        finally:
            del os.environ[VARIABLE]
