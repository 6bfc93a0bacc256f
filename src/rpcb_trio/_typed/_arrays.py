"""Arrays and tensors as items and results.

Whoever names such a type has its library loaded. So a library is looked up among the loaded modules, and is
no requirement of this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, cast, get_args, get_origin


def is_array_like(annotation: Any) -> bool:
    """Whether values of the type are taken apart by `tolist`: arrays, tensors, series."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and hasattr(kind, "tolist") and kind is not memoryview


def maker_of(annotation: Any) -> Callable[[Any], Any] | None:
    """Makes an array of numpy or a tensor of torch out of nested lists; None for other types."""
    kind = get_origin(annotation) or annotation
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray:
        dtype = _dtype_of(annotation)
        return lambda value: _checked(numpy.asarray(value, dtype=dtype))
    torch: Any = sys.modules.get("torch")
    if torch is not None and kind is torch.Tensor:
        return cast(Callable[[Any], Any], torch.tensor)
    return None


def stack(arrays: Sequence[Any]) -> Any:
    """One array of several of one shape, with the batch as its first dimension."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(arrays[0], torch.Tensor):
        return torch.stack(list(arrays))
    return sys.modules["numpy"].stack(arrays)


def alike(arrays: Sequence[Any]) -> list[list[int]]:
    """The places of those that can be stacked, together."""
    groups = dict[Any, list[int]]()
    for place, each in enumerate(arrays):
        groups.setdefault((tuple(each.shape), each.dtype), []).append(place)
    return list(groups.values())


def listed(results: Any) -> Any:
    """What `infer` returned, with lists for arrays and tensors, which may lie on a device."""
    if is_array_like(type(results)):
        return results.tolist()
    if type(results) in (list, tuple):
        return [each.tolist() if hasattr(type(each), "tolist") else each for each in results]
    return results


def _dtype_of(annotation: Any) -> Any:
    """The data type that `NDArray[float32]` names; None where it names none."""
    *_, dtype = get_args(annotation) or (None,)
    found = get_args(dtype)
    return found[0] if found and isinstance(found[0], type) else None


def _checked(array: Any) -> Any:
    if array.dtype.kind not in "biufc":
        raise ValueError
    return array
