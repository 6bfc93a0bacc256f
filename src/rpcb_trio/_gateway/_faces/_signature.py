"""Which tensors a model takes and makes: as its route says, or as the annotations of its service do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rpcb_trio._gateway._routes import Route, Routes, Tensor
from rpcb_trio._service import bind_again
from rpcb_trio.errors import SettingError

INPUT = "input"
"""The tensor of an item that is no map: where it is the only one, it is the item itself."""
OUTPUT = "output"
"""The tensor of a result that is no map."""

DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
"""By JSON Schema's types."""

ANY = Tensor()
"""As of an array, whose annotation names no shape."""

Schema = Mapping[str, Any]
Components = Mapping[str, Schema]


class Signature(msgspec.Struct, frozen=True):
    """The tensors of one model."""

    inputs: Mapping[str, Tensor]
    """Empty where nothing says which there are; then the service judges what is sent."""
    required: frozenset[str]
    outputs: Mapping[str, Tensor]
    """Empty where nothing says which there are; then they follow from each reply."""

    def input(self, name: str) -> Tensor | None:
        """What an input is to be; None where there is none of that name."""
        return self.inputs.get(name) if self.inputs else ANY


def signatures_of(routes: Routes, services: Mapping[str, Any]) -> dict[str, Signature]:
    """The signature of each route: what its table says, or else its service's annotations, if it is here.

    Args:
        routes: by their names.
        services: by the names of their queues.

    Raises:
        SettingError: the annotations say what no tensor holds.
    """
    found: dict[str, Signature] = {}
    for name, route in routes.items():
        try:
            found[name] = _signature_of(route, services.get(route.queue or ""))
        except SettingError as error:
            raise SettingError(f"[routes.{name}]: {error}") from error
    return found


def _signature_of(route: Route, service: Any) -> Signature:
    said = Signature(route.inputs, frozenset(route.inputs), route.outputs)
    typed = None if service is None else bind_again(service).typed
    if said.inputs or typed is None:
        return said
    schemas = typed.schemas()
    if schemas.request is None:
        return said
    found = annotated(schemas.request, schemas.reply, schemas.components)
    return msgspec.structs.replace(found, outputs=said.outputs or found.outputs)


def annotated(request: Schema, reply: Schema | None, components: Components) -> Signature:
    """What the annotations of a service say, as JSON Schema.

    Raises:
        SettingError: an item is, or has, what no tensor holds.
    """
    item = _resolved(request, components)
    properties = item.get("properties")
    if properties is None:  # an item that is a map with one key of that name can't be told from this one
        inputs = {INPUT: _tensor(item, components, "an item")}
        return Signature(inputs, frozenset(inputs), _outputs(reply, components))
    inputs = {name: _tensor(each, components, name) for name, each in properties.items()}
    required = frozenset(item.get("required", ()))
    return Signature(inputs, required, _outputs(reply, components))


def _outputs(reply: Schema | None, components: Components) -> dict[str, Tensor]:
    if not reply:
        return {}
    result = _resolved(reply, components)
    properties = result.get("properties", {OUTPUT: result})
    try:
        return {name: _tensor(each, components, name) for name, each in properties.items()}
    except SettingError:
        return {}  # the replies may hold tensors all the same


def _tensor(schema: Schema, components: Components, place: str) -> Tensor:
    shape: list[int] = []
    each = _resolved(schema, components)
    while each.get("type") == "array":
        if not each.get("items"):
            return ANY
        least, most = each.get("minItems"), each.get("maxItems")
        shape.append(most if most is not None and least == most else -1)
        each = _resolved(each["items"], components)
    kind = each.get("type")
    if kind is None and "enum" in each:
        kind = "string" if all(isinstance(value, str) for value in each["enum"]) else "integer"
    if kind not in DATATYPES:
        raise SettingError(
            f"{place} is {kind or 'of any type'} to the service, which no tensor holds; describe the tensors "
            "in the route's inputs"
        )
    return Tensor(datatype=DATATYPES[kind], shape=tuple(shape), text=each.get("contentEncoding") != "base64")


def _resolved(schema: Schema, components: Components) -> Schema:
    """The schema that a reference leads to, or that is left of one with null."""
    if (reference := schema.get("$ref")) is not None:
        return _resolved(components[reference.rpartition("/")[2]], components)
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return _resolved(choices[0], components) if len(choices) == 1 else schema
