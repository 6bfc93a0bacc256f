"""Which types are read by msgspec alone, without any code of the service's."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

PLAIN_FACTORIES = (list, dict, set, frozenset, tuple, bytearray, str, bytes)


def is_quick(annotation: Any) -> bool:
    """Whether reading a value runs no code but msgspec's; then a small one may be read on the event loop."""
    return not _runs_code(inspect.type_info(annotation), set())


def _runs_code(info: Any, seen: set[int]) -> bool:
    if isinstance(info, (list, tuple)):
        return any(_runs_code(each, seen) for each in info)
    if not isinstance(info, (inspect.Type, inspect.Field)) or id(info) in seen:
        return False
    seen.add(id(info))
    cls = getattr(info, "cls", None)
    if isinstance(info, inspect.CustomType):
        return cls is not object
    if hasattr(cls, "__post_init__") or "_missing_" in vars(cls or int):
        return True
    factory = getattr(info, "default_factory", msgspec.NODEFAULT)
    if factory is not msgspec.NODEFAULT and factory not in PLAIN_FACTORIES:
        return True
    return any(_runs_code(getattr(info, name), seen) for name in info.__struct_fields__)
