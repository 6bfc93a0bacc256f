"""How values of one type are read and described, with msgspec or, for its models, with pydantic."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Protocol, get_args

import msgspec

from rpcb_trio._shown import LONGEST_SHOWN, shortened
from rpcb_trio._typed._arrays import is_array_like, maker_of
from rpcb_trio._typed._quick import is_quick
from rpcb_trio.errors import DecodeError, InvalidRequest

Schema = dict[str, Any]

ANYTHING: Schema = {"description": "Any value."}
"""msgspec takes an empty schema for none."""

NO_ARRAY = "Expected an array of numbers, in rows of equal length"

AT = re.compile(r" - at (?P<path>[^\n]*)\Z")
"""How msgspec ends an error's text with the place of the wrong value."""
MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


class Kind(Protocol):
    """A type of items or results."""

    is_quick: bool
    """Whether reading a value runs no code of the service's."""

    def read(self, body: bytes, *, is_msgpack: bool) -> Any:
        """The value in a body.

        Raises:
            DecodeError: it is no JSON, or no MessagePack.
            InvalidRequest: it holds another type.
        """
        ...

    def schema(self, template: str, mode: str) -> tuple[Schema, dict[str, Schema]]:
        """Its JSON Schema, and what that refers to by `template`; `mode` is validation or serialization.

        Raises:
            TypeError: no value of the type can be read or written.
        """
        ...


def kind_of(annotation: Any) -> Kind:
    """The kind of a type.

    Raises:
        TypeError: no value of it can be read.
    """
    return _PydanticKind(annotation) if _is_of_pydantic(annotation) else _MsgspecKind(annotation)


class _MsgspecKind:
    def __init__(self, annotation: Any) -> None:
        self._type = annotation
        self._json = msgspec.json.Decoder(annotation, dec_hook=_made)
        self._msgpack = msgspec.msgpack.Decoder(annotation, dec_hook=_made)
        self.is_quick = is_quick(annotation)

    def read(self, body: bytes, *, is_msgpack: bool) -> Any:
        try:
            return self._msgpack.decode(body) if is_msgpack else self._json.decode(body)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise _no_coding(error, is_msgpack=is_msgpack) from None

    def schema(self, template: str, mode: str) -> tuple[Schema, dict[str, Schema]]:
        [schema], components = msgspec.json.schema_components(
            [self._type], ref_template=template, schema_hook=lambda kind: _schema_of(kind, mode)
        )
        return schema, components


class _PydanticKind:
    is_quick = False

    def __init__(self, annotation: Any) -> None:
        pydantic: Any = sys.modules["pydantic"]
        self._error: type[Exception] = pydantic.ValidationError
        self._adapter = pydantic.TypeAdapter(annotation)

    def read(self, body: bytes, *, is_msgpack: bool) -> Any:
        try:
            if not is_msgpack:
                return self._adapter.validate_json(body)
            return self._adapter.validate_python(msgspec.msgpack.decode(body))
        except (msgspec.DecodeError, RecursionError) as error:
            raise _no_coding(error, is_msgpack=is_msgpack) from None
        except self._error as error:
            message, path, is_json = _first_of(error)
            if not is_json:
                raise DecodeError(f"the body is no JSON: {message}") from None
            raise _refusal(message, path) from None

    def schema(self, template: str, mode: str) -> tuple[Schema, dict[str, Schema]]:
        schema = self._adapter.json_schema(mode=mode, ref_template=template.replace("{name}", "{model}"))
        return schema, schema.pop("$defs", {})


def written(mode: str) -> Callable[[Any], Any]:
    """The `enc_hook` of an encoder: `mode` is json, or python where bytes may stay bytes."""

    def write(value: Any) -> Any:
        if hasattr(type(value), "tolist"):
            return value.tolist()
        if hasattr(type(value), "model_dump"):
            return value.model_dump(mode=mode, by_alias=True)
        raise NotImplementedError

    return write


def _made(kind: Any, value: Any) -> Any:
    """The `dec_hook`: a value of a type that msgspec does not know."""
    if kind is object:
        return value
    make = maker_of(kind)
    if make is not None:
        try:
            return make(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise ValueError(NO_ARRAY) from None
    if not _is_model(kind):
        raise NotImplementedError
    try:
        return kind.model_validate(value)
    except sys.modules["pydantic"].ValidationError as error:
        message, path, _ = _first_of(error)
        raise ValueError(f"{message} ({path})") from None


def _schema_of(kind: Any, mode: str) -> Schema:
    """The `schema_hook`."""
    if kind is object:
        return ANYTHING.copy()
    if maker_of(kind) is not None:
        return {"type": "array", "items": {}}
    if mode == "serialization" and is_array_like(kind):
        return ANYTHING.copy()
    if _is_model(kind):
        return {"type": "object"}
    raise NotImplementedError


def _is_model(kind: Any) -> bool:
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _is_of_pydantic(annotation: Any) -> bool:
    """Whether the type, or an argument of it (`Model | None`), is a model or a dataclass of pydantic."""
    is_its_own = isinstance(annotation, type) and hasattr(annotation, "__pydantic_validator__")
    return is_its_own or any(map(_is_of_pydantic, get_args(annotation)))


def _invalid(text: str) -> InvalidRequest:
    found = AT.search(text)
    path = "$" if found is None else found["path"].replace("`", "")
    message = text if found is None else text[: found.start()]
    missing = MISSING.search(message)
    return _refusal(message, path if missing is None else f"{path}.{missing['field']}")


def _refusal(message: str, path: str) -> InvalidRequest:
    """Both may quote a value or a key, which are as long as their caller likes."""
    return InvalidRequest(shortened(message, LONGEST_SHOWN), shortened(path, LONGEST_SHOWN))


def _no_coding(error: Exception, *, is_msgpack: bool) -> DecodeError:
    text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return DecodeError(f"the body is no {'MessagePack' if is_msgpack else 'JSON'}: {text}")


def _first_of(error: Any) -> tuple[str, str, bool]:
    """The first fault that pydantic has found, its path as msgspec writes it, and whether it was JSON."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = (f"[{each}]" if isinstance(each, int) else f".{each}" for each in first["loc"])
    return str(first["msg"]), "".join(("$", *steps)), first["type"] != "json_invalid"
