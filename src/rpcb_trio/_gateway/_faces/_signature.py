"""Which tensors a model takes and makes: as its route says, or as the annotations of its service do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rpcb_trio._gateway._routes import Route, Routes, Tensor
from rpcb_trio._service import bind_again

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
    """
    return {name: _signature_of(route, services.get(route.queue or "")) for name, route in routes.items()}


def _signature_of(route: Route, service: Any) -> Signature:
    said = Signature(route.inputs, frozenset(route.inputs), route.outputs)
    typed = None if service is None else bind_again(service).typed
    if said.inputs or typed is None:
        return said
    schemas = typed.schemas()
    inputs, required = _tensors(schemas.request, INPUT, schemas.components)
    outputs, _ = _tensors(schemas.reply, OUTPUT, schemas.components)
    return Signature(inputs, required, said.outputs or outputs)


def _tensors(
    schema: Schema | None, name: str, components: Components
) -> tuple[dict[str, Tensor], frozenset[str]]:
    """The tensors that a type is, and which of them must be there; none where its annotation names none.

    Args:
        schema: of the type, as JSON Schema.
        name: of its only tensor, where it is no map.
        components: what the schema refers to.
    """
    if schema is None:
        return {}, frozenset()
    whole = _resolved(schema, components)
    if "properties" not in whole:
        # A map whose keys are not known has no names for its tensors, and a union may be one.
        tensor = _tensor(whole, components) if "type" in whole else None
        return ({}, frozenset()) if tensor is None else ({name: tensor}, frozenset({name}))
    each = {field: _tensor(one, components) for field, one in whole["properties"].items()}
    found = {field: tensor for field, tensor in each.items() if tensor is not None}
    return found, frozenset(whole.get("required", ())) & found.keys()


def _tensor(schema: Schema, components: Components) -> Tensor | None:
    """The tensor that holds a type; None for what none holds, as a map."""
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
    if kind is None:
        return ANY
    if kind not in DATATYPES:
        return None
    return Tensor(datatype=DATATYPES[kind], shape=tuple(shape), text=each.get("contentEncoding") != "base64")


def _resolved(schema: Schema, components: Components) -> Schema:
    """The schema that a reference leads to, or that is left of one with null."""
    if (reference := schema.get("$ref")) is not None:
        return _resolved(components[reference.rpartition("/")[2]], components)
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return _resolved(choices[0], components) if len(choices) == 1 else schema
