"""`[routes.NAME]` of a file, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from http import HTTPStatus
from typing import Any, get_args, get_type_hints

import msgspec

from rpcb_trio._gateway._extensions import envelope_of, file_of
from rpcb_trio._gateway._faces._presets import (
    PRESETS,
    about_own_paths,
    about_preset,
    settled,
    share_a_path,
)
from rpcb_trio._gateway._options import is_named_by_broker
from rpcb_trio._gateway._routes import Field, Part, Route, Routes, Tensor
from rpcb_trio._shown import did_you_mean
from rpcb_trio.errors import SettingError

OWN_PATHS = ("/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics")
OWN_BELOW = ("/docs/", "/files/", "/jobs/", "/rpc/", "/static/", "/events")
"""Paths of the gateway's own, and what begins like them."""

ERRORS = {int(status) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
"""HTTP statuses that a failure may have."""

UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*?)`")
NO_CHOICE = re.compile(r"Invalid enum value '(.*)' - at `\$\.(form\[\.\.\.\]\.)?(\w+)`")
"""As msgspec says it."""

TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def read_routes(tables: Mapping[str, Any]) -> Routes:
    """Read the tables and check the routes.

    Raises:
        SettingError: something in them is wrong.
    """
    return check_routes({name: _read(name, table) for name, table in tables.items()})


def check_routes(routes: Routes) -> Routes:
    """Check each route, and that they go together; a route without a path gets `/NAME`.

    Raises:
        SettingError: something in them is wrong.
    """
    placed = {name: settled(name, each) for name, each in routes.items()}
    by_path: dict[str, str] = {}
    for name, route in placed.items():
        for complaint in _complaints(name, route, placed):
            raise SettingError(f"[routes.{name}]: {complaint}")
        other = by_path.setdefault(route.path, name)
        if other != name and not share_a_path(route, placed[other]):
            raise SettingError(f"[routes.{name}]: path {route.path} is that of [routes.{other}]; set another")
    return placed


def _read(name: str, table: Any) -> Route:
    try:
        _refuse_unknown_preset(name, table.get("preset"))
        form = {field: _spelt_out(spec) for field, spec in table.get("form", {}).items()}
        return msgspec.convert({**table, "form": form}, Route)
    except msgspec.ValidationError as error:
        if found := NO_CHOICE.fullmatch(str(error)):
            complaint = _no_choice(table, *found.groups())
            raise SettingError(f"[routes.{name}]: {complaint}") from error
        complaint = UNKNOWN_KEY.sub(_unknown_key, str(error)).replace(" - at `$.", ", in `")
        raise SettingError(f"[routes.{name}]: {complaint}") from error
    except AttributeError as error:
        raise SettingError(f"[routes.{name}]: write it, and its form, as tables") from error


def _refuse_unknown_preset(name: str, preset: object) -> None:
    if isinstance(preset, str) and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise SettingError(f"[routes.{name}]: there is no preset {preset}{hint}")


def _unknown_key(found: re.Match[str]) -> str:
    keys = {key for table in (Route, Field, Part, Tensor) for key in table.__struct_fields__}
    return f"there is no key {found[1]}{did_you_mean(found[1], sorted(keys))}"


def _no_choice(table: Any, value: str, place: str | None, key: str) -> str:
    """Names the field, which the path of a map does not, and what may stand there."""
    field = next((each for each, spec in table.get("form", {}).items() if value == _type_of(spec)), "...")
    kind = get_type_hints(Field if place else Route)[key]
    choices = [choice for each in get_args(kind) for choice in get_args(each) or (each,)]  # `Literal | None`
    where = f"form.{field}.{key}" if place else key
    return f"{where} is {value}; choose from {', '.join(each for each in choices if isinstance(each, str))}"


def _type_of(spec: Any) -> Any:
    spelt = _spelt_out(spec)
    return spelt.get("type") if isinstance(spelt, dict) else None


def _spelt_out(spec: Any) -> Any:
    """`audio = "file"` stands for `audio = { type = "file" }`."""
    return {"type": spec} if isinstance(spec, str) else spec


def _complaints(name: str, route: Route, routes: Routes) -> Iterator[str]:
    yield from about_preset(name, route)
    yield from _about_path(route.path)
    yield from about_own_paths(route, routes)
    for field, spec in route.form.items():
        yield from _about_field(field, spec)
    yield from _about_extensions(route)
    if route.timeout is not None and not route.timeout > 0:
        yield f"timeout is {route.timeout:g}; give more than 0 seconds"
    if route.auth is not None and not all((*route.auth, bool(route.auth))):
        yield "auth is empty, so nobody could call; name keys, or leave it out"
    if route.parts:
        yield from _about_parts(route, routes)
    else:
        yield from _about_request(route)
        yield from _about_reply(route)


def _about_path(path: str) -> Iterator[str]:
    if not path.startswith("/") or any(each in path for each in "{}?# "):
        yield f"path is {path}; write it as /asr, without braces and blanks"
    if path in OWN_PATHS or path.startswith(OWN_BELOW):
        yield f"path {path} is the gateway's own; set another"


def _about_field(name: str, field: Field) -> Iterator[str]:
    if field.default is not None and not isinstance(field.default, TYPES.get(field.type, ())):
        yield f"form.{name}: the default {field.default!r} is no {field.type}"
    if field.choices and field.type != "text":
        yield f"form.{name}: choices are for texts"
    if field.choices and field.default is not None and field.default not in field.choices:
        yield f"form.{name}: the default {field.default!r} is none of its choices"


def _about_extensions(route: Route) -> Iterator[str]:
    try:
        envelope_of(route)
        if route.page:
            file_of("page", route.page)
        for name, field in route.form.items():
            if field.sample and field.type == "file":
                file_of(f"form.{name}: sample", field.sample)
    except SettingError as error:
        yield str(error)


def _about_request(route: Route) -> Iterator[str]:
    if (route.queue is None) == (route.routing_key is None):
        yield "give either queue, or exchange and routing_key, to say where its requests go"
    target = route.queue or ("" if route.exchange else route.routing_key) or ""
    if is_named_by_broker(target):
        yield f"its requests go to {target}, but only the broker makes names with amq.; name another queue"
    if route.queue is not None and route.exchange:
        yield "exchange goes with routing_key; leave it or queue out"
    if route.body_coding == "bytes" and (len(route.form) > 1 or route.constants):
        yield "body = bytes takes the only field of the form; set body to msgpack or json, or name one field"
    if route.body_coding != "bytes" and not route.form and route.preset is None:
        yield f"body = {route.body_coding} is made of a form; describe it in [routes.NAME.form]"


def _about_reply(route: Route) -> Iterator[str]:
    for value, status in (route.status.http if route.status else {}).items():
        if status not in ERRORS:
            yield f"status.http: {value} is {status}; give an HTTP status from 400 to 599"
    if route.reply_coding == "bytes":
        for key in ("answer", "status", "urls"):
            if getattr(route, key):
                yield f"{key} looks into the reply; set reply to msgpack or json"
        if route.envelope:
            yield "an envelope holds the reply as JSON; set reply to msgpack or json"


def _about_parts(route: Route, routes: Routes) -> Iterator[str]:
    for key in ("queue", "exchange", "routing_key", "body", "constants", "reply", "answer", "status", "urls"):
        if getattr(route, key):
            yield f"{key} is for a route that calls one service; leave it or parts out"
    for part_name, part in route.parts.items():
        if part_name in route.form:
            yield f"parts.{part_name} has the name of a field of the form; set another"
        yield from (f"parts.{part_name}: {each}" for each in _about_part(part_name, part, route, routes))
    try:
        waits_for = {name: part.feeders(route.parts) for name, part in route.parts.items()}
        tuple(TopologicalSorter(waits_for).static_order())
    except CycleError as error:
        yield f"its parts wait for one another: {' <- '.join(error.args[1])}"


def _about_part(name: str, part: Part, route: Route, routes: Routes) -> Iterator[str]:
    target = routes.get(part.route)
    if target is None or target.parts:
        yield f"route is {part.route}; name a route that calls a service itself"
        return
    if not target.form or target.reply_coding == "bytes":
        yield f"[routes.{part.route}] has no form, or its reply is bytes; a part fills and reads fields"
    for field in (*part.fields, *part.constants):
        if field not in target.form:
            yield f"[routes.{part.route}] has no field {field}"
    for source in part.fields.values():
        head, dot, _ = source.partition(".")
        if head == name or not (head in route.parts if dot else head in route.form):
            yield f"{source} is neither a field of the form nor PART.FIELD of another part"
    given = {*part.fields, *part.constants, *route.form}
    for field, spec in target.form.items():
        if spec.is_required and field not in given:
            yield f"[routes.{part.route}] needs {field}; give it in fields or constants"
