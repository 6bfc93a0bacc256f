"""What a deployment adds to its routes: an envelope in Python, a page module, files to try."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field, Route
from rpcb_trio.errors import SettingError


@runtime_checkable
class Envelope(Protocol):
    """The shape of a route's responses, for clients that expect another one than the gateway's own."""

    @property
    def answer(self) -> str:
        """The field of the envelope that holds the answer; the page shows that."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The envelope as JSON Schema, for `/openapi.json`."""

    @property
    def passes_error_replies(self) -> bool:
        """Whether an error reply that can be read is an answer to these clients, as any other reply is."""

    def success(self, answer: bytes) -> bytes:
        """The body of a response with an answer; both are JSON. The HTTP status is 200."""

    def failure(self, problem: Problem, form: Mapping[str, Field]) -> tuple[int, bytes]:
        """The HTTP status and the body, in JSON, of a response to a request that failed.

        Args:
            problem: why it failed. It is not to be changed.
            form: the fields of the route.
        """


def envelope_of(route: Route | None) -> Envelope | None:
    """The envelope of a route, if it has one.

    Raises:
        SettingError: it is not there, or is no envelope.
    """
    return _loaded(route.envelope) if route is not None and route.envelope else None


@cache
def _loaded(name: str) -> Envelope:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            f"envelope is {name}, which can't be loaded: {error}; write MODULE:ATTRIBUTE"
        ) from error
    if not isinstance(found, Envelope):
        raise SettingError(f"envelope is {name}, which is no Envelope (see rpcb_trio.gateway.Envelope)")
    return found


def file_of(key: str, name: str) -> Path:
    """The file that `PACKAGE:FILE` names; the package itself is not imported.

    Raises:
        SettingError: there is none.
    """
    package, _, file = name.partition(":")
    if "/" in file:  # the page's module and its other files are served from one directory
        raise SettingError(f"{key} is {name}; name a file in the package itself")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = (spec.submodule_search_locations if spec else None) or ()
    for place in places:
        if file and (Path(place) / file).is_file():
            return Path(place) / file
    raise SettingError(f"{key} is {name}, which is not there; write PACKAGE:FILE")
