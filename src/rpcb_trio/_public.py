"""Public paths, for tracebacks, reprs and pickles: `rpcb_trio.errors.InferError`, wherever it is written."""

from __future__ import annotations

import sys
from inspect import get_annotations
from types import FunctionType
from typing import get_type_hints


def publish(front: str) -> None:
    """Make a public module the home of the classes and functions that it exports, where they have none yet.

    A name that two public modules export is at home in the one that publishes first.
    """
    module = sys.modules[front]
    for each in (getattr(module, name) for name in module.__all__):
        if isinstance(each, (type, FunctionType)) and _is_private(each.__module__):
            if isinstance(each, type):
                _resolve_annotations(each)
            each.__module__ = front


def _is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


def _resolve_annotations(cls: type) -> None:
    """Annotations are texts, which msgspec and `typing.get_type_hints` look up in the module of the class."""
    if own := get_annotations(cls):
        hints = get_type_hints(cls, include_extras=True)
        cls.__annotations__ = {name: hints[name] for name in own}
