"""What a preset makes of a route: its path, and what else it may say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

import msgspec

from rpcb_trio._gateway._faces._datatypes import DATATYPES
from rpcb_trio._gateway._routes import Preset, Route, Routes

PATHS: Mapping[Preset, str] = {
    "openai-transcriptions": "/v1/audio/transcriptions",
    "openai-embeddings": "/v1/embeddings",
    "open-inference": "/v2/models/{name}/infer",
}
"""Of each preset. Where it has no name in it, its routes share it, and the request's `model` names one."""

PRESETS: tuple[Preset, ...] = get_args(Preset)
OPENAI = tuple(each for each in PRESETS if each.startswith("openai-"))

BELOW: Mapping[str, str] = {"openai-": "/v1/models", "open-": "/v2"}
"""Further paths, from how presets' names begin to how the paths do."""

ANY_WIDTH = -1
"""Of a tensor's dimension."""

ITS_OWN = ("form", "constants", "urls", "envelope", "page", "parts")
"""Keys for which a preset leaves no choice."""


def settled(name: str, route: Route) -> Route:
    """A route with its path, and its queue: by default both follow from its name."""
    if route.preset is None:
        return msgspec.structs.replace(route, path=route.path or f"/{name}")
    is_unsaid = route.queue is None and route.routing_key is None and not route.exchange
    queue = name if is_unsaid else route.queue
    return msgspec.structs.replace(route, path=route.path or path_of(name, route.preset), queue=queue)


def path_of(name: str, preset: Preset) -> str:
    """Where a route of this name and preset is asked."""
    return PATHS[preset].format(name=name)


def share_a_path(one: Route, other: Route) -> bool:
    """Whether both may have the same path, for the request says which one it is for."""
    return one.preset is not None and one.preset == other.preset and "{" not in PATHS[one.preset]


def of_preset(routes: Routes, *presets: str) -> dict[str, Route]:
    """Those of the routes that have one of these presets."""
    return {name: route for name, route in routes.items() if route.preset in presets}


def about_preset(name: str, route: Route) -> Iterator[str]:
    """What makes no sense in a route that has a preset."""
    if route.preset != "open-inference" and (route.inputs or route.outputs):
        yield "inputs and outputs are tensors; they go with preset = open-inference"
    if route.preset is None:
        return
    for key in ITS_OWN:
        if getattr(route, key):
            yield f"{key} is what preset = {route.preset} says already; leave one of them out"
    if route.path != path_of(name, route.preset):
        yield f"path is that of preset = {route.preset}, {PATHS[route.preset]}; leave path out"
    if route.method != "POST":
        yield f"method of preset = {route.preset} is POST; leave it out"
    if route.preset == "open-inference":
        yield from _about_inference(name, route)


def _about_inference(name: str, route: Route) -> Iterator[str]:
    if "/" in name:
        yield "the name of a model is a part of its path; give it one without a slash"
    if route.body_coding == "bytes" or route.reply_coding == "bytes":
        yield "body and reply hold tensors; set them to msgpack or json"
    for key, tensors in (("inputs", route.inputs), ("outputs", route.outputs)):
        for each, tensor in tensors.items():
            if tensor.datatype not in ("", *DATATYPES):
                yield f"{key}.{each}: there is no datatype {tensor.datatype}; there is {', '.join(DATATYPES)}"
            if any(width != ANY_WIDTH and width < 1 for width in tensor.shape):
                yield f"{key}.{each}: shape has {min(tensor.shape)}; a dimension is at least 1, or -1 for any"


def about_own_paths(route: Route, routes: Routes) -> Iterator[str]:
    """Whether a route without a preset takes a path that the presets of others answer on."""
    if route.preset is not None:
        return
    for preset in sorted({each.preset for each in routes.values() if each.preset is not None}):
        below = next(path for start, path in BELOW.items() if preset.startswith(start))
        if route.path == below or route.path.startswith(f"{below}/"):
            yield f"path {route.path} is that of preset = {preset}; set another"
